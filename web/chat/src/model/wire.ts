import { codePoints, type Frame } from '@netra-systems/switchboard'
import { fields, number, string } from './message.ts'

/** A line of the wire inspector: one frame, or several text frames of the same kind in a row. */
export interface Row {
  readonly id: number
  readonly device: string
  readonly direction: 'in' | 'out'
  readonly type: string
  readonly offset?: number
  readonly why: Why
  /** How many frames it stands for. */
  readonly count: number
  readonly bytes: number
  /** How many frames another device needed for the same text; 0 unless at least 2. */
  readonly merged: number
  /** The newest of the frames. */
  readonly frames: readonly Frame[]
}

export type Why = Frame['why'] | 'merged' | 'sent'

export interface Filter {
  readonly device: string
  readonly direction: string
  readonly type: string
}

interface Extent {
  readonly stream: string
  readonly start: number
  readonly end: number
}

const maxRows = 2000
const maxFramesOfRow = 20
const maxExtents = 4000

/** The frames of all devices, newest last, and the newest 2,000 rows only. */
export class Wire {
  /** The same list all the time: frames come often, and it is long. */
  readonly rows: Row[] = []
  frames = 0
  readonly #types = new Map<string, number>() // how many rows each has
  readonly #extents = new Map<string, Extent[]>()

  /** The types of its rows, sorted. */
  get types(): string[] {
    return [...this.#types.keys()].sort()
  }

  add(device: string, frame: Frame): void {
    this.frames++
    const row = this.#row(device, frame)
    // Texts that grow side by side keep a row each.
    const at = this.rows.findLastIndex((other) => other.device === device && !(isText(row) && isText(other) && streamOf(other) !== streamOf(row)))
    const last = this.rows[at]
    if (last !== undefined && folds(last, row)) {
      this.rows[at] = together(last, row)
      return
    }
    this.rows.push(row)
    this.#count(row, 1)
    if (this.rows.length > maxRows) this.#count(this.rows.shift()!, -1)
  }

  #count({ type }: Row, more: 1 | -1): void {
    const rows = (this.#types.get(type) ?? 0) + more
    if (rows === 0) this.#types.delete(type)
    else this.#types.set(type, rows)
  }

  #row(device: string, frame: Frame): Row {
    const { type, offset } = frame.envelope
    const merged = frame.direction === 'in' && type === 'stream_chunk' ? this.#elsewhere(device, frame) : 0
    return {
      id: this.frames,
      device,
      direction: frame.direction,
      type: string(type),
      why: frame.direction === 'out' ? 'sent' : merged > 0 && frame.why === 'live' ? 'merged' : frame.why,
      count: 1,
      bytes: frame.bytes,
      merged,
      frames: [frame],
      ...(typeof offset === 'number' ? { offset } : {}),
    }
  }

  /** In how many whole frames another device got the text of this one; 0 unless at least 2. */
  #elsewhere(device: string, frame: Frame): number {
    const p = fields(frame.envelope.payload)
    const start = number(p['start']) ?? 0
    const here: Extent = { stream: string(p['stream_id']), start, end: start + codePoints(string(p['text'])) }
    const own = this.#extents.get(device) ?? []
    own.push(here)
    if (own.length > maxExtents) own.splice(0, maxExtents / 2)
    this.#extents.set(device, own)
    let most = 0
    for (const [other, extents] of this.#extents) {
      if (other !== device) most = Math.max(most, within(extents, here))
    }
    return most < 2 ? 0 : most
  }
}

function within(extents: readonly Extent[], whole: Extent): number {
  let n = 0
  for (let i = extents.length - 1; i >= 0; i--) {
    const e = extents[i]!
    if (e.stream !== whole.stream) continue
    if (e.end <= whole.start) break
    if (e.start >= whole.start && e.end <= whole.end) n++
  }
  return n
}

function folds(last: Row, row: Row): boolean {
  return isText(row) && isText(last) && last.why === row.why && streamOf(last) === streamOf(row)
}

/** Whether a row is of text as it grows, which comes in so many frames. */
function isText(row: Row): boolean {
  return row.type === 'stream_chunk' && (row.why === 'live' || row.why === 'merged')
}

function streamOf(row: Row): string {
  return string(fields(row.frames[0]?.envelope.payload)['stream_id'])
}

function together(last: Row, row: Row): Row {
  return {
    ...last,
    count: last.count + row.count,
    bytes: last.bytes + row.bytes,
    merged: last.merged + row.merged,
    frames: [...last.frames, ...row.frames].slice(-maxFramesOfRow),
  }
}

/** Why a row's frames came, in words: "merged, 14 in 1". */
export function whyWords(row: Row): string {
  return row.merged > 0 ? `${row.why}, ${row.merged} in ${row.count}` : row.why
}

export function filtered(rows: readonly Row[], f: Filter): readonly Row[] {
  if (f.device === '' && f.direction === '' && f.type === '') return rows
  return rows.filter(
    (r) => (f.device === '' || r.device === f.device) && (f.direction === '' || r.direction === f.direction) && (f.type === '' || r.type === f.type),
  )
}
