/** A text from its beginning, and its length in Unicode code points, which is how the protocol counts. */
export interface TextState {
  text: string
  length: number
}

/** What became of a chunk. */
export interface Applied extends TextState {
  /** What was new in the chunk: `text` ends with it. Empty if the text had all of it. */
  added: string
  /** How many code points are missing before the chunk. If it is not 0, nothing of the chunk was taken. */
  hole: number
}

/**
 * Puts a stream_chunk behind a text. `start` counts code points, while strings of JavaScript
 * count UTF-16 units: an emoji is 1 there and 2 here. What the text has already is cut off;
 * it is never looked at, so that a long text costs no more than a short one.
 */
export function applyChunk(state: TextState, chunk: { start: number; text: string }): Applied {
  const { text, length } = state
  if (chunk.start > length) return { text, length, added: '', hole: chunk.start - length }
  const added = dropCodePoints(chunk.text, length - chunk.start)
  return { text: text + added, length: length + codePoints(added), added, hole: 0 }
}

/** The length of s in Unicode code points; a surrogate without its other half counts as one. */
export function codePoints(s: string): number {
  let n = s.length
  for (let i = 1; i < s.length; i++) {
    if (isLow(s.charCodeAt(i)) && isHigh(s.charCodeAt(i - 1))) n--
  }
  return n
}

/** s without its first n code points. */
export function dropCodePoints(s: string, n: number): string {
  let at = 0
  for (; n > 0 && at < s.length; n--) {
    at += isHigh(s.charCodeAt(at)) && isLow(s.charCodeAt(at + 1)) ? 2 : 1
  }
  return at === 0 ? s : s.slice(at)
}

/** The bytes of s in UTF-8. */
export function utf8Bytes(s: string): number {
  let n = s.length
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i)
    if (c < 0x80) continue
    // A pair is four bytes, two for each of its units; a lone surrogate becomes U+FFFD.
    const half = isHigh(c) ? isLow(s.charCodeAt(i + 1)) : isLow(c) && i > 0 && isHigh(s.charCodeAt(i - 1))
    n += c < 0x800 || half ? 1 : 2
  }
  return n
}

const isHigh = (c: number) => c >= 0xd800 && c < 0xdc00
const isLow = (c: number) => c >= 0xdc00 && c < 0xe000
