import type { Emitter } from './emitter.js'
import { newId } from './ids.js'
import type { Events } from './types.js'
import type { Envelope, TypingPayload } from './wire.js'

/** How often at most the server is told that the user still types, and when it has forgotten that. */
const renewMs = 2000
const lifeMs = 5000

/** Of how many others it is kept who types. */
const most = 1000

/** Where somebody types. */
export interface TypingPlace {
  /** The user's own topic if absent. */
  room?: string
  /** The default thread if absent. */
  threadId?: string
}

/** Tells the server where the user types, and the application who else does. */
export class Typing {
  readonly #own = new Map<string, number>() // places, and when the server was told
  readonly #others = new Map<string, { who: Events['typing']; timer: ReturnType<typeof setTimeout> }>()
  readonly #post: (frame: string) => boolean
  readonly #events: Emitter<Events>

  constructor(post: (frame: string) => boolean, events: Emitter<Events>) {
    this.#post = post
    this.#events = events
  }

  /** The user types, or types no more. */
  tell(place: TypingPlace, types: boolean): void {
    const { room, threadId } = place
    const key = JSON.stringify([room, threadId || undefined])
    const now = performance.now()
    for (const [k, at] of this.#own) if (now - at >= lifeMs) this.#own.delete(k)
    const told = this.#own.get(key)
    if (types ? told !== undefined && now - told < renewMs : told === undefined) return
    const frame = {
      type: types ? 'typing_started' : 'typing_stopped',
      message_id: newId(),
      thread_id: threadId || undefined,
      payload: { room },
    }
    if (!this.#post(JSON.stringify(frame))) return
    if (types) this.#own.set(key, now)
    else this.#own.delete(key)
  }

  /** Takes a user_typing. It ends by itself, because its end may be lost. */
  heard(env: Envelope): void {
    const { user_id, is_typing, expires_in } = env.payload as unknown as TypingPayload
    const key = keyOf(env)
    if (!is_typing) return this.#end(key)
    const known = this.#others.get(key)
    if (!known && this.#others.size >= most) return
    clearTimeout(known?.timer)
    const who: Events['typing'] = { userId: user_id ?? env.user_id ?? '', topic: env.topic ?? '', typing: true }
    if (env.thread_id !== undefined) who.threadId = env.thread_id
    this.#others.set(key, { who, timer: setTimeout(() => this.#end(key), (expires_in || lifeMs / 1000) * 1000) })
    if (!known) this.#events.emit('typing', who)
  }

  /** What somebody has said is typed no more. */
  said(env: Envelope): void {
    if (env.user_id !== undefined && !env.run_id) this.#end(keyOf(env))
  }

  /** The connection is lost: nobody says that somebody has stopped, and the server forgets that the user types. */
  lost(): void {
    this.#own.clear()
    for (const key of [...this.#others.keys()]) this.#end(key)
  }

  #end(key: string): void {
    const known = this.#others.get(key)
    if (!known) return
    clearTimeout(known.timer)
    this.#others.delete(key)
    this.#events.emit('typing', { ...known.who, typing: false })
  }
}

function keyOf(env: Envelope): string {
  return JSON.stringify([env.topic, env.thread_id, env.user_id])
}
