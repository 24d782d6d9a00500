import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocket as NodeSocket } from 'ws'
import { Switchboard, type Events, type Frame, type Options } from '../src/index.js'

const repository = fileURLToPath(new URL('../../..', import.meta.url))

/** The real server, as `switchboard dev` starts it. */
export class Server {
  readonly url: string
  private readonly key: string
  private readonly process: ChildProcess
  private readonly dir: string

  private constructor(url: string, key: string, process: ChildProcess, dir: string) {
    this.url = url
    this.key = key
    this.process = process
    this.dir = dir
  }

  static async start(): Promise<Server> {
    const dir = mkdtempSync(join(tmpdir(), 'switchboard-ts-'))
    const program = join(dir, 'switchboard')
    execFileSync('go', ['build', '-o', program, './cmd/switchboard'], { cwd: repository, stdio: 'inherit' })
    const ready = join(dir, 'ready.json')
    const args = ['dev', '--listen', '127.0.0.1:0', '--ready-file', ready, '--words-per-second', '0', '--log-level', 'error']
    const process = spawn(program, args, { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'] })
    await until('the server to be ready', () => existsSync(ready) || process.exitCode !== null)
    if (process.exitCode !== null) throw new Error(`the server ended with ${process.exitCode}`)
    const { url, api_key } = JSON.parse(readFileSync(ready, 'utf8'))
    return new Server(url, api_key, process, dir)
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve))
    this.process.kill('SIGTERM')
    await ended
    rmSync(this.dir, { recursive: true })
  }

  /** Calls the API of back ends. */
  async api(method: string, path: string, body?: object | string): Promise<any> {
    const response = await fetch(this.url + '/api/v1' + path, {
      method,
      headers: { Authorization: `Bearer ${this.key}`, 'Content-Type': typeof body === 'string' ? 'text/plain' : 'application/json' },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const answer = await response.json()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`)
    return answer
  }
}

/** Waits for something that becomes true by itself. */
export async function until(what: string, check: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !check(); ) {
    if (Date.now() > end) throw new Error(`waited too long for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A client of the real server that remembers what it was told. */
export class Device {
  readonly client: Switchboard
  readonly told: { event: keyof Events; e: any }[] = []
  readonly frames: Frame[] = []
  private socket: NodeSocket | undefined

  constructor(server: Server, user: string, options: Options = {}) {
    const made = (socket: NodeSocket) => (this.socket = socket)
    class Socket extends NodeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols)
        made(this)
      }
    }
    this.client = new Switchboard({
      url: `${server.url}/ws?user=${user}`,
      WebSocket: Socket as unknown as typeof WebSocket,
      random: () => 0.02,
      onFrame: (f) => this.frames.push(f),
      ...options,
    })
    for (const event of ['state', 'message', 'text', 'snapshot', 'gap', 'recovered', 'outbox', 'typing', 'readMarker', 'presence', 'error'] as const) {
      this.client.on(event, (e) => this.told.push({ event, e }))
    }
  }

  of<K extends keyof Events>(event: K): Events[K][] {
    return this.told.filter((t) => t.event === event).map((t) => t.e)
  }

  /** The types of the messages of a run, in order. */
  types(run: string): string[] {
    return this.of('message').filter((m) => m.run_id === run).map((m) => m.type)
  }

  async live(): Promise<void> {
    this.client.connect()
    await until('the connection', () => this.client.state.status === 'live')
  }

  /** Cuts the network, without a word to either side. */
  cut(): void {
    this.socket?.terminate()
  }
}
