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

/** Something whose readers are told once per frame that it has changed. */
export class Source {
  readonly #readers = new Set<() => void>()
  readonly #tell = perFrame(() => {
    for (const reader of this.#readers) reader()
  })

  /** Calls reader after changes; returns what ends that. */
  subscribe(reader: () => void): () => void {
    this.#readers.add(reader)
    return () => this.#readers.delete(reader)
  }

  protected changed(): void {
    this.#tell()
  }
}
