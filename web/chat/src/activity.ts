import type { DeviceState } from '@netra-systems/switchboard'

/** How long nobody does anything on a device before it is idle. */
export const idleAfterMs = 60_000

/** What the user does on a device, from input and from whether it can be seen. It begins as active. */
export class Activity {
  readonly #changed: () => void
  #hidden = false
  #idle = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(changed: () => void) {
    this.#changed = changed
    this.#wait()
  }

  get state(): DeviceState {
    if (this.#hidden) return 'background'
    return this.#idle ? 'idle' : 'active'
  }

  /** The user does something here. */
  input(): void {
    this.#set(this.#hidden, false)
    this.#wait()
  }

  /** Nobody can see it, or it can be seen again. */
  hide(hidden: boolean): void {
    if (hidden === this.#hidden) return
    this.#set(hidden, false)
    this.#wait()
  }

  #wait(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#set(this.#hidden, true), idleAfterMs)
  }

  #set(hidden: boolean, idle: boolean): void {
    const before = this.state
    this.#hidden = hidden
    this.#idle = idle
    if (this.state !== before) this.#changed()
  }
}
