import { until } from './until.ts'

export interface StreamText {
  length: number
  state: 'open' | 'complete' | 'cancelled' | 'failed'
  text: string
}

/** The application's side: the HTTP API, with a key. */
export class Api {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: { Authorization: `Bearer ${this.key}`, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }

  /** Begins a run of alice in the thread of the page. */
  async begin(): Promise<Writer> {
    const { run_id } = await this.call<{ run_id: string }>('POST', '/api/v1/runs', { to: { user: 'alice' }, user: 'alice', agent_name: 'writer' })
    return new Writer(this, this.url, this.key, run_id)
  }

  /** What the server has of a run's answer. */
  answer(run: string): Promise<StreamText> {
    return this.call('GET', `/api/v1/runs/${run}/streams/answer`)
  }

  async ended(run: string): Promise<StreamText> {
    return until(`the end of ${run}`, async () => {
      const answer = await this.answer(run)
      return answer.state !== 'open' && answer
    }, 30_000)
  }

  /** Puts messages into alice's history, as if she had written them. */
  async say(contents: string[]): Promise<void> {
    for (let at = 0; at < contents.length; at += 100) {
      const messages = contents.slice(at, at + 100).map((content) => ({ to: { user: 'alice' }, type: 'user_message', payload: { content } }))
      await this.call('POST', '/api/v1/publish/batch', { messages })
    }
  }
}

/** Writes the answer of one run, in one long body that goes on as the test says. */
export class Writer {
  private body: ReadableStreamDefaultController<Uint8Array> | undefined
  private sent: Promise<Response> | undefined

  constructor(
    private readonly api: Api,
    private readonly url: string,
    private readonly key: string,
    readonly run: string,
  ) {}

  event(type: string, payload: unknown): Promise<unknown> {
    return this.api.call('POST', `/api/v1/runs/${this.run}/events`, { type, payload })
  }

  async tool(name: string, parameters: unknown, result: unknown, took: number): Promise<void> {
    await this.event('tool_executing', { tool_name: name, parameters, status: 'executing' })
    await this.event('tool_completed', { tool_name: name, result, execution_time_ms: took, status: 'completed' })
  }

  /** Appends text. It is on its way when this returns, not necessarily arrived. */
  write(text: string): void {
    if (this.body === undefined) {
      const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (this.body = controller) })
      const request: RequestInit & { duplex: 'half' } = {
        method: 'POST',
        headers: { Authorization: `Bearer ${this.key}`, 'Content-Type': 'text/plain' },
        body: stream,
        duplex: 'half',
      }
      this.sent = fetch(`${this.url}/api/v1/runs/${this.run}/streams/answer`, request)
      this.sent.catch(() => undefined) // told by flush
    }
    this.body?.enqueue(new TextEncoder().encode(text))
  }

  /** Appends text at a pace of so many characters a second, as a model does. */
  async pace(text: string, charactersPerSecond: number): Promise<void> {
    const characters = [...text]
    const begun = performance.now()
    for (let at = 0; at < characters.length; ) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      const due = Math.min(characters.length, Math.ceil(((performance.now() - begun) * charactersPerSecond) / 1000))
      this.write(characters.slice(at, due).join(''))
      at = due
    }
  }

  /** Ends the body and returns when all of it has arrived. */
  async flush(): Promise<void> {
    this.body?.close()
    const response = await this.sent
    this.body = this.sent = undefined
    if (response && !response.ok) throw new Error(`the body of ${this.run}: ${response.status} ${await response.text()}`)
  }

  async complete(): Promise<void> {
    await this.flush()
    await this.api.call('POST', `/api/v1/runs/${this.run}/complete`, { result: {} })
  }
}
