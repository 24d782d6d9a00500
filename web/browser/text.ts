/** The number of Unicode code points, in which the protocol counts. */
export const length = (text: string): number => [...text].length

/**
 * A text of exactly so many code points in which no two places look alike, in one
 * paragraph. Some of its characters have two UTF-16 units, some are joined of several
 * code points: a cut may fall into one.
 */
export function numbered(characters: number): string {
  let text = ''
  for (let n = 1; length(text) < characters; n++) text += `Sentence ${n} has a lamp 💡, a family 👩‍👩‍👧 and café number ${n * 7}. `
  return [...text].slice(0, characters).join('')
}

/**
 * What of an answer must be seen on the page: every character but white space and the
 * signs that the page draws as shapes, those of a quote and of its source.
 */
export function visible(answer: string): string {
  return answer.replace(/^> ?/gm, '').replace(/^— (?=\S+:\d+$)/gm, '').replace(/\s+/g, '')
}

/** Where two texts part, in words that help. */
export function difference(got: string, want: string): string | undefined {
  if (got === want) return undefined
  let at = 0
  while (at < got.length && got[at] === want[at]) at++
  const around = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 30), at + 50))
  return `got ${got.length} units, want ${want.length}; they part at ${at}: got ${around(got)}, want ${around(want)}`
}
