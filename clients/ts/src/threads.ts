import type { Calls } from './calls.js'
import { parsePlace } from './track.js'
import type { Incoming, ThreadSnapshot, Why } from './types.js'
import type { Envelope, Position, Thread } from './wire.js'

export interface ThreadOptions {
  threadId: string
  /** The room that the thread is in; the user's own topic if absent. */
  room?: string
  /** Messages, at most 1000; default 50. */
  limit?: number
  /** For older messages: nothing else changes then. */
  before?: Position
}

/** The threads that the application has opened, to be opened again when messages were lost. */
export class Threads {
  readonly #open = new Map<string, ThreadOptions>()

  readonly #calls: Calls

  constructor(calls: Calls) {
    this.#calls = calls
  }

  /** Asks for a thread. The answer is a thread_snapshot. */
  ask({ threadId, room, limit, before }: ThreadOptions): Promise<Envelope> {
    return this.#calls.begin('thread_open', { thread_id: threadId, room, limit, before })
  }

  remember(options: ThreadOptions): void {
    this.#open.set(JSON.stringify([options.room, options.threadId]), options)
  }

  /** The open threads of some topics; `own` is the user's. */
  in(topics: Set<string>, own: string): ThreadOptions[] {
    return [...this.#open.values()].filter(({ room }) => topics.has(room === undefined ? own : `room/${room}`))
  }

  /** A room is not followed any more. */
  leave(room: string): void {
    for (const [key, thread] of this.#open) if (thread.room === room) this.#open.delete(key)
  }
}

/** What a thread_snapshot says, for the application. */
export function snapshotOf(env: Envelope, { threadId, room }: ThreadOptions, reopened: boolean): ThreadSnapshot {
  const thread = env.payload as unknown as Thread
  const epoch = parsePlace(thread.position)?.epoch ?? ''
  return {
    topic: env.topic ?? '',
    threadId,
    ...(room !== undefined && { room }),
    messages: thread.messages.map((m) => incoming(m, m.offset ? `${epoch}:${m.offset}` : undefined, 'snapshot')),
    runs: thread.runs,
    position: thread.position,
    hasMore: thread.has_more,
    reopened,
  }
}

/** A message as the application gets it. */
export function incoming(env: Envelope, position: Position | undefined, why: Why): Incoming {
  return { ...env, payload: env.payload ?? {}, ...(position !== undefined && { position }), why } as unknown as Incoming
}
