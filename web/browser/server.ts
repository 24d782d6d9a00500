import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import { until } from './until.ts'

/** A development server of its own, on a port of its own. */
export class Server {
  readonly key = 'key-of-the-browser-tests'
  url = ''
  log = ''
  private readonly dir = mkdtempSync(join(tmpdir(), 'switchboard-dev-'))
  private readonly process: ChildProcess
  private exit: number | string | undefined

  private constructor(wordsPerSecond: number) {
    this.process = spawn(
      inject('switchboard'),
      ['dev', '--listen', '127.0.0.1:0', '--ready-file', join(this.dir, 'ready'), '--api-key', this.key, '--words-per-second', String(wordsPerSecond)],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    for (const out of [this.process.stdout, this.process.stderr]) out?.on('data', (bytes: Buffer) => (this.log += bytes.toString()))
    this.process.on('exit', (code, signal) => (this.exit = code ?? signal ?? 'unknown'))
  }

  static async start(wordsPerSecond: number): Promise<Server> {
    const server = new Server(wordsPerSecond)
    server.url = await until('the ready file of the server', () => {
      if (server.exit !== undefined) throw new Error(`the server ended with ${server.exit}:\n${server.log}`)
      try {
        return (JSON.parse(readFileSync(join(server.dir, 'ready'), 'utf8')) as { url: string }).url
      } catch {
        return undefined // not there yet, or not whole
      }
    })
    return server
  }

  /** What the server warned of, a report of the content security policy among it. */
  warnings(): string[] {
    return this.log.split('\n').filter((line) => /level=(WARN|ERROR)/.test(line))
  }

  async stop(): Promise<void> {
    if (this.exit === undefined) {
      this.process.kill('SIGTERM')
      const killer = setTimeout(() => this.process.kill('SIGKILL'), 5000)
      await until('the end of the server', () => this.exit !== undefined)
      clearTimeout(killer)
    }
    rmSync(this.dir, { recursive: true, force: true })
  }
}
