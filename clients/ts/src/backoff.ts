import type { SwitchboardError } from './errors.js'

/** How a connection, or the attempt to make one, ended. */
export interface End {
  reason: string
  /** Of the close frame; 1006 if there was none. Absent if the client gave up. */
  closeCode?: number
  /** What the server said instead of a welcome. */
  error?: SwitchboardError
}

/** What to do after an end. */
export interface Plan {
  /** The same would come again: do not try. */
  final?: boolean
  /** The credential that was used is no good any more. */
  credential?: boolean
  /** A message was too big: whichever was under way would be so again. */
  tooBig?: boolean
  /** As the server asked for. */
  afterMs?: number
}

/** Decides by the close code and the code of the error what to do. */
export function judge(end: End): Plan {
  switch (end.closeCode) {
    case 1000: // the server has done what it was asked for: logout
    case 4002: // revoked
    case 4003: // replaced
    case 1002: // the two do not understand each other
    case 1003:
    case 1007:
      return { final: true }
    case 4001:
      return { credential: true }
    case 1009:
      return { tooBig: true }
    case 1008:
      if (end.error?.code !== 'AUTH_ERROR') return { final: true }
  }
  switch (end.error?.code) {
    case 'AUTH_ERROR':
      return { credential: true }
    case 'FORBIDDEN':
    case 'PROTOCOL':
      return { final: true }
  }
  const afterMs = end.error?.retryAfterMs
  return afterMs === undefined ? {} : { afterMs }
}

const baseMs = 500
const capMs = 15_000

/**
 * The time before an attempt, after so many that failed: anything up to a limit that doubles each time
 * ("full jitter"), so that the clients of a failed server do not all come back at once.
 */
export function backoff(failed: number, random: () => number): number {
  return random() * Math.min(capMs, baseMs * 2 ** Math.min(failed, 10))
}
