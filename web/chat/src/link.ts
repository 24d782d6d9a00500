/** The way between a device and the server, which the development server can cut or slow down. */
export class Link {
  /** Made anew with each page load, so that a page does not inherit what was done to another. */
  readonly name = Array.from(crypto.getRandomValues(new Uint8Array(20)), (byte) => (byte % 36).toString(36)).join('')

  /** Cuts the connection, and lets no other through for so long. */
  async cut(seconds: number): Promise<void> {
    await this.#tell({ cut_seconds: seconds })
  }

  /** Lets through so much in both directions for so long; 0 bytes ends that. */
  async pace(bytesPerSecond: number, seconds: number): Promise<void> {
    await this.#tell({ bytes_per_second: bytesPerSecond, ...(bytesPerSecond > 0 && { seconds }) })
  }

  async #tell(what: object): Promise<void> {
    const answer = await fetch('/dev/link', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ link: this.name, ...what }),
    })
    if (answer.ok) return
    const { detail } = (await answer.json().catch(() => ({}))) as { detail?: string }
    throw new Error(detail ?? `the server answered ${answer.status}`)
  }
}
