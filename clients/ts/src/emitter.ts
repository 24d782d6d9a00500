/** Listeners by event. One that throws does not disturb the others, nor what is told next. */
export class Emitter<E> {
  readonly #of = new Map<keyof E, Set<(event: never) => void>>()

  on<K extends keyof E>(event: K, listener: (e: E[K]) => void): () => void {
    let listeners = this.#of.get(event)
    if (!listeners) this.#of.set(event, (listeners = new Set()))
    const own = (e: E[K]) => listener(e) // so that one function may be registered twice
    listeners.add(own)
    return () => void listeners.delete(own)
  }

  emit<K extends keyof E>(event: K, e: E[K]): void {
    for (const listener of [...(this.#of.get(event) ?? [])]) guard(() => (listener as (e: E[K]) => void)(e))
  }
}

/** Calls what the application gave us. What it throws is reported as uncaught, outside of our work. */
export function guard(call: () => void): void {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
