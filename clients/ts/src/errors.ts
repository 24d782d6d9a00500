import type { ErrorMessage } from './wire.js'

/**
 * What went wrong, in one word. Those in capitals of the protocol come from the server; the
 * client's own are `OUTBOX_FULL`, `TIMEOUT` (no answer in time), `ABORTED` (by the signal),
 * `CLOSED` (there is no connection any more), `NOT_CONNECTED` (a message that is not worth
 * keeping) and `PROTOCOL` (the server said what cannot be understood).
 */
export type ErrorCode =
  | ErrorMessage['error_code']
  | 'OUTBOX_FULL'
  | 'TIMEOUT'
  | 'ABORTED'
  | 'CLOSED'
  | 'NOT_CONNECTED'
  | 'PROTOCOL'

/** A refusal by the server, or by the client itself. */
export class SwitchboardError extends Error {
  readonly code: ErrorCode
  /** What the server said besides, such as `field`. */
  readonly details: Readonly<Record<string, unknown>>
  /** How long the server wants one to wait before the next attempt. */
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.name = 'SwitchboardError'
    this.code = code
    this.details = details
    const ms = details['retry_after_ms']
    this.retryAfterMs = typeof ms === 'number' && ms >= 0 ? Math.min(ms, maxRetryAfterMs) : undefined
  }
}

/** Bounds what a server may ask for, so that a mistake does not last for days. */
const maxRetryAfterMs = 600_000

/** The error that an error_message tells. */
export function refusal(m: ErrorMessage): SwitchboardError {
  return new SwitchboardError(m.error_code, m.error_message, m.details)
}

/** Whether the same message may be taken later. */
export function passes(error: SwitchboardError): boolean {
  return error.code === 'RATE_LIMITED' || error.code === 'BUSY' || error.code === 'UNAVAILABLE'
}
