import { socketUrl } from './credentials.js'
import { SwitchboardError, type ErrorCode } from './errors.js'
import type { Options } from './types.js'

/** Asks for a ticket: a credential for one connection, which may stand in a URL. */
export async function mintTicket(options: Options, token: string | undefined, ttlSeconds: number | undefined): Promise<string> {
  if (token === undefined) throw new SwitchboardError('NOT_CONNECTED', 'a ticket is made for a session, and there is none yet')
  const url = socketUrl(options.url)
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:'
  url.pathname = url.pathname.replace(/\/[^/]*$/, '/websocket/ticket')
  url.search = ''
  const response = await (options.fetch ?? fetch)(url, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ttl_seconds: ttlSeconds }),
  })
  const body = (await response.json().catch(() => ({}))) as { ticket?: string; code?: ErrorCode; detail?: string; details?: Record<string, unknown> }
  if (response.ok && body.ticket) return body.ticket
  throw new SwitchboardError(body.code ?? 'INTERNAL', body.detail ?? `the server answered ${response.status}`, body.details)
}
