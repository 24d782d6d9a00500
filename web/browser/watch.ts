import type { BrowserContext, Page, Request, WebSocket } from 'playwright-core'

export interface Wire {
  at: number
  link: string
  device: string
  direction: 'in' | 'out'
  message: { type: string; offset?: number; run_id?: string; payload?: Record<string, unknown> }
  bytes: number
}

/** What a page may say in the console though nothing is wrong, and why. */
export interface Excuse {
  pattern: RegExp
  why: string
}

/** A pulled plug resets each attempt to connect until it is in again. The browser tells each in the console. */
export const pluggedOut: Excuse = {
  pattern: /^error: WebSocket connection to 'ws:\/\/127\.0\.0\.1:\d+\/ws\?[^']*' failed: Error (during WebSocket handshake|in connection establishment): net::ERR_(CONNECTION_RESET|SOCKET_NOT_CONNECTED)$/,
  why: 'a plug was pulled',
}

/** Watches everything a browser context says while a scenario runs. */
export class Watch {
  readonly console: string[] = []
  readonly wire: Wire[] = []
  /** Each WebSocket that a page opened, by the device it was for. */
  readonly sockets: { device: string; url: string; page: Page }[] = []
  private readonly complaints: string[] = []
  private readonly excuses: Excuse[] = []

  constructor(context: BrowserContext) {
    context.on('page', (page) => this.follow(page))
    context.on('requestfailed', (request) => this.failed(request, request.failure()?.errorText ?? 'failed'))
    context.on('response', (response) => response.status() >= 400 && this.failed(response.request(), String(response.status())))
    context.on('console', (message) => {
      const line = `${message.type()}: ${message.text()}`
      this.console.push(line)
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(line)
    })
    context.on('weberror', (error) => this.complaints.push(`uncaught: ${error.error().stack ?? error.error().message}`))
  }

  excuse(...excuses: Excuse[]): void {
    this.excuses.push(...excuses)
  }

  /** What a page or the browser, or who else is given, complained of, without what the scenario excused. */
  inexcusable(complaints = this.complaints): string[] {
    return complaints.filter((line) => !this.excuses.some(({ pattern }) => pattern.test(line)))
  }

  /** The messages that a device got or sent, oldest first. */
  of(device: string, direction?: 'in' | 'out'): Wire[] {
    return this.wire.filter((row) => row.device === device && (direction === undefined || row.direction === direction))
  }

  /** What a device was told to be gone of its topics. Messages that only pass are no part of them: who is behind skips those. */
  gaps(device: string): Wire[] {
    return this.of(device, 'in').filter(({ message }) => message.type === 'gap' && message.payload?.['reason'] !== 'volatile')
  }

  private failed(request: Request, why: string): void {
    if (why === 'net::ERR_ABORTED' && request.isNavigationRequest()) return // a reload during a load
    this.complaints.push(`request failed: ${request.method()} ${request.url()}: ${why}`)
  }

  private follow(page: Page): void {
    page.on('websocket', (socket: WebSocket) => {
      const query = new URL(socket.url()).searchParams
      const device = query.get('device') ?? ''
      const link = query.get('link') ?? ''
      this.sockets.push({ device, url: socket.url(), page })
      const row = (direction: 'in' | 'out') => (frame: { payload: string | Buffer }) => {
        const raw = frame.payload.toString()
        this.wire.push({ at: performance.now(), link, device, direction, bytes: raw.length, message: JSON.parse(raw) as Wire['message'] })
      }
      socket.on('framereceived', row('in'))
      socket.on('framesent', row('out'))
    })
  }
}
