import type { Options } from './types.js'
import type { SessionInfo } from './wire.js'

/** What a connection was made with. */
export type Kind = 'session' | 'token' | 'ticket' | 'none'

export interface Handshake {
  url: string
  protocols: string[]
  kind: Kind
}

/** Keeps the session's token and says how to connect. */
export class Credentials {
  #session: string | undefined
  #ticketUsed = false
  readonly #key: string

  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    this.#key = options.storageKey ?? 'switchboard.session'
    this.#session = this.#stored((s) => s.getItem(this.#key)) || undefined
  }

  /** The session's token. */
  get token(): string | undefined {
    return this.#session
  }

  /** Takes the token for the next connection. */
  keep(session: SessionInfo): void {
    this.#session = session.token
    this.#stored((s) => s.setItem(this.#key, session.token))
  }

  /** The session's token is no good any more. */
  drop(): void {
    this.#session = undefined
    this.#stored((s) => s.removeItem(this.#key))
  }

  /** How to connect: with the session's token if there is one, else with a credential, which the application is asked for. */
  async handshake(resume: boolean, threads: readonly string[]): Promise<Handshake> {
    const url = socketUrl(this.#options.url)
    const protocols = ['switchboard.v1']
    let kind: Kind = 'none'
    if (this.#session) {
      protocols.push(`session.${base64url(this.#session)}`)
      kind = 'session'
    } else {
      const { token, ticket } = await this.fresh()
      if (token) {
        protocols.push(`token.${base64url(token)}`)
        kind = 'token'
      } else if (ticket) {
        url.searchParams.set('ticket', ticket)
        kind = 'ticket'
      }
      if (resume) url.searchParams.set('resume', '1')
    }
    if (this.#options.device !== undefined) url.searchParams.set('device', this.#options.device)
    for (const thread of threads) url.searchParams.append('thread', thread)
    return { url: url.href, protocols, kind }
  }

  /** Asks the application for a credential. Both are absent if it has none. */
  async fresh(): Promise<{ token?: string; ticket?: string }> {
    const { token, ticket } = this.#options
    if (token !== undefined) return { token: typeof token === 'string' ? token : await token() }
    if (typeof ticket === 'function') {
      const next = await ticket()
      return next === undefined ? {} : { ticket: next }
    }
    if (ticket === undefined || this.#ticketUsed) return {}
    this.#ticketUsed = true
    return { ticket }
  }

  /** Uses the storage, which may be full or forbidden: then a reload begins a new session. */
  #stored<T>(use: (s: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>) => T): T | undefined {
    try {
      return this.#options.storage && use(this.#options.storage)
    } catch {
      return undefined
    }
  }
}

/** Where to connect to: ws: and wss:, without a fragment. */
export function socketUrl(given: string | URL | undefined): URL {
  const page = (globalThis as { location?: Location }).location?.href
  const url = new URL(given ?? '/ws', page)
  if (url.protocol === 'http:') url.protocol = 'ws:'
  else if (url.protocol === 'https:') url.protocol = 'wss:'
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') throw new TypeError(`url must be ws, wss, http or https, not ${url.protocol}`)
  url.hash = ''
  return url
}

function base64url(s: string): string {
  let bytes = ''
  for (const b of new TextEncoder().encode(s)) bytes += String.fromCharCode(b)
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
