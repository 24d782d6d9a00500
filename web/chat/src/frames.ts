/**
 * Runs render once in the next frame, however often it is asked for before. A page in the
 * background has no frames: it is drawn four times a second.
 */
export function perFrame(render: () => void): () => void {
  let queued = false
  return () => {
    if (queued) return
    queued = true
    const run = () => {
      cancelAnimationFrame(frame)
      clearTimeout(timer)
      queued = false
      render()
    }
    const frame = requestAnimationFrame(run)
    const timer = setTimeout(run, 250)
  }
}

/** Runs render once in so many milliseconds, however often it is asked for in between. */
export function every(ms: number, render: () => void): () => void {
  let queued = false
  return () => {
    if (queued) return
    queued = true
    setTimeout(() => {
      queued = false
      render()
    }, ms)
  }
}

/** Something whose readers are told that it has changed, once per frame unless said otherwise. */
export class Source {
  readonly #readers = new Set<() => void>()
  readonly #tell: () => void

  constructor(paced: (render: () => void) => () => void = perFrame) {
    this.#tell = paced(() => {
      for (const reader of this.#readers) reader()
    })
  }

  /** Calls reader after changes; returns what ends that. */
  subscribe(reader: () => void): () => void {
    this.#readers.add(reader)
    return () => this.#readers.delete(reader)
  }

  protected changed(): void {
    this.#tell()
  }
}
