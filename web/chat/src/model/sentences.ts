const sentenceEnd = /[.!?…:][)”"'»]*(?=\s)|\n\n/g

/**
 * Where the last sentence ends that is complete in text: a listener is told sentences,
 * not words as they come.
 */
export function completeUpTo(text: string, from: number): number {
  let end = from
  for (const match of text.slice(from).matchAll(sentenceEnd)) end = from + match.index + match[0].length
  return end
}

/** Text as it is read aloud: without the signs of quotes, tables and code. */
export function aloud(text: string): string {
  return text
    .replace(/^>\s?/gm, '')
    .replace(/^— (\S+):(\d+)$/gm, '$1, line $2.')
    .replace(/^\|[\s:|-]*$/gm, '')
    .replace(/^\|\s*|[^\S\n]*\|[^\S\n]*$/gm, '')
    .replace(/\s*\|\s*/g, ', ')
    .replace(/[`*]+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
}
