/** A part of an answer that is drawn on its own, so that only the last one is drawn again. */
export interface Block {
  readonly kind: 'paragraph' | 'quote' | 'source' | 'code'
  /** Where it begins in the answer, in UTF-16 units. */
  readonly start: number
  /** Its lines, each with where it begins in the answer. The signs of a quote are left out. */
  readonly lines: readonly Line[]
}

export interface Line {
  readonly start: number
  readonly text: string
  /** Within a fence, the fence itself, a row of a table, or the dashes below the names of its columns. */
  readonly form?: 'code' | 'fence' | 'row' | 'dashes'
}

/** A document's name and the line at which a passage begins. */
export interface Source {
  readonly file: string
  readonly line: number
}

const sourceLine = /^— (\S+):(\d+)$/
const fence = '```'
const dashes = /^\|[\s:|]*-[\s:|-]*$/

/**
 * Splits an answer into blocks. Given the blocks of a shorter version of the text it
 * reads only what can have changed since.
 */
export function split(text: string, before: readonly Block[] = []): readonly Block[] {
  const kept = before.slice(0, -1)
  const blocks: Block[] = [...kept]
  let at = before.length === 0 ? 0 : before[before.length - 1]!.start
  let open: { kind: Block['kind']; start: number; lines: Line[] } | undefined
  const close = () => {
    if (open !== undefined) blocks.push(open)
    open = undefined
  }
  while (at < text.length) {
    const newline = text.indexOf('\n', at)
    const end = newline < 0 ? text.length : newline
    const line = text.slice(at, end)
    const kind = open?.kind === 'code' ? 'code' : kindOf(line)
    if (kind === undefined || kind !== open?.kind || kind === 'source') close()
    if (kind !== undefined) {
      open ??= { kind, start: at, lines: [] }
      const sign = kind !== 'quote' ? 0 : line.startsWith('> ') ? 2 : 1
      const shown = line.slice(sign)
      const form = formOf(shown, open.lines)
      open.lines.push({ start: at + sign, text: shown, ...(form && { form }) })
      if (kind === 'code' && form === 'fence' && open.lines.length > 1) close()
    }
    at = end + 1
  }
  close()
  return blocks
}

/** What a line is behind others of its block: a fence begins code or ends it. */
function formOf(line: string, before: readonly Line[]): Line['form'] {
  if (line.startsWith(fence)) return 'fence'
  const last = before[before.length - 1]
  if (last?.form === 'code') return 'code'
  if (last?.form === 'fence' && before.filter(({ form }) => form === 'fence').length % 2 === 1) return 'code'
  if (!line.startsWith('|')) return undefined
  return last?.form === 'row' && dashes.test(line) ? 'dashes' : 'row'
}

function kindOf(line: string): Block['kind'] | undefined {
  if (line.startsWith(fence)) return 'code'
  if (line.startsWith('>')) return 'quote'
  if (sourceLine.test(line)) return 'source'
  return line.trim() === '' ? undefined : 'paragraph'
}

/** Whether a line is prose that goes on in the next one: it was broken for the width of its document. */
export function goesOn(line: Line, next: Line): boolean {
  return line.form === undefined && next.form === undefined && line.text.length >= 80 && /^[\p{L}`(]/u.test(next.text)
}

/** The source that a block names. */
export function sourceOf(block: Block): Source | undefined {
  const found = sourceLine.exec(block.lines[0]?.text ?? '')
  return found === null ? undefined : { file: found[1]!, line: Number(found[2]) }
}

/** Whether two blocks look the same. */
export function sameBlock(a: Block, b: Block): boolean {
  return (
    a === b ||
    (a.kind === b.kind && a.start === b.start && a.lines.length === b.lines.length && a.lines.at(-1)?.text === b.lines.at(-1)?.text)
  )
}

/** A piece of a line: what is only a sign of its form is kept, to be read by nobody. */
export interface Piece {
  readonly kind: 'text' | 'code' | 'strong' | 'sign' | 'bar'
  readonly text: string
}

/**
 * Reads the forms within a line: `code`, **strong**, and of a table's row the bars between its
 * cells. Those around it are signs, with the spaces beside them.
 */
export function pieces(line: string, row = false): readonly Piece[] {
  const found: Piece[] = []
  const form = row ? /(`+)(.+?)\1|(\*\*)(.+?)\*\*|(^\|\s*|\s*\|\s*$)|\|/g : /(`+)(.+?)\1(?!`)|(\*\*)(.+?)\*\*/g
  let at = 0
  for (const match of line.matchAll(form)) {
    if (match.index > at) found.push({ kind: 'text', text: line.slice(at, match.index) })
    const sign = match[1] ?? match[3]
    if (match[5] !== undefined) found.push({ kind: 'sign', text: match[5] })
    else if (sign === undefined) found.push({ kind: 'bar', text: match[0] })
    else {
      const kind = match[1] === undefined ? 'strong' : 'code'
      found.push({ kind: 'sign', text: sign }, { kind, text: match[2] ?? match[4] ?? '' }, { kind: 'sign', text: sign })
    }
    at = match.index + match[0].length
  }
  if (at < line.length) found.push({ kind: 'text', text: line.slice(at) })
  return found
}

/** The part of a line's pieces between two of its UTF-16 units. */
export function between(all: readonly Piece[], from: number, to: number): readonly Piece[] {
  const found: Piece[] = []
  let at = 0
  for (const { kind, text } of all) {
    const part = text.slice(Math.max(from - at, 0), Math.max(to - at, 0))
    if (part !== '') found.push({ kind, text: part })
    at += text.length
  }
  return found
}

/** The UTF-16 unit at which so many code points of text end. */
export function unitOf(text: string, codePoints: number): number {
  let unit = 0
  for (let n = 0; n < codePoints && unit < text.length; n++) unit += text.codePointAt(unit)! > 0xffff ? 2 : 1
  return unit
}
