/**
 * Waits until probe returns something, for at most limit ms, and says what it waited
 * for when it does not.
 */
export async function until<T>(what: string, probe: () => T | undefined | false | Promise<T | undefined | false>, limit = 30_000): Promise<T> {
  const end = performance.now() + limit
  for (;;) {
    const found = await probe()
    if (found !== undefined && found !== false) return found
    if (performance.now() > end) throw new Error(`waited ${limit} ms for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
