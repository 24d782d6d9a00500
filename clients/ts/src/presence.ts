import type { Emitter } from './emitter.js'
import { newId } from './ids.js'
import type { DeviceState, Events } from './types.js'
import type { Envelope, Presence, PresenceDiffPayload, PresenceStatePayload } from './wire.js'

/** Tells the server what the user does on this device, and the application who is there. */
export class Present {
  #own: { state: DeviceState; meta: object | undefined } | undefined
  readonly #topics = new Map<string, { users: Map<string, Presence>; incomplete: boolean }>() // as they were told last
  readonly #post: (frame: string) => boolean
  readonly #events: Emitter<Events>

  constructor(post: (frame: string) => boolean, events: Emitter<Events>) {
    this.#post = post
    this.#events = events
  }

  say(state: DeviceState, meta: object | undefined): void {
    this.#own = { state, meta }
    this.ready()
  }

  /** A new connection takes messages, and begins as an active one that has said nothing. */
  ready(): void {
    if (this.#own) this.#post(JSON.stringify({ type: 'presence_update', message_id: newId(), payload: this.#own }))
  }

  /** Takes a presence_state, which replaces what is known of its topic. */
  state({ topic = '', payload }: Envelope): void {
    const { users, count, incomplete = false } = payload as unknown as PresenceStatePayload
    this.#topics.set(topic, { users: new Map(users.map((u) => [u.user_id, u])), incomplete })
    this.#tell(topic, count)
  }

  /** Takes a presence_diff. One without a state before it would not be the whole. */
  diff({ topic = '', payload }: Envelope): void {
    const { joins, leaves, updates, count } = payload as unknown as PresenceDiffPayload
    const known = this.#topics.get(topic)
    if (!known) return
    for (const u of [...joins, ...updates]) known.users.set(u.user_id, u)
    for (const u of leaves) known.users.delete(u.user_id)
    this.#tell(topic, count)
  }

  forget(topic: string): void {
    this.#topics.delete(topic)
  }

  /** The connection is lost: the next one tells all of it. */
  lost(): void {
    this.#topics.clear()
  }

  #tell(topic: string, count: number): void {
    const { users, incomplete } = this.#topics.get(topic)!
    this.#events.emit('presence', { topic, users: [...users.values()], count, incomplete })
  }
}
