/**
 * Where something stands in a conversation: the offset in the log of its topic. An era
 * is one epoch of that log; after is for what has no offset in it, such as a message to
 * all, and keeps it behind the message that it came after.
 */
export interface Place {
  readonly era: number
  readonly offset: number
  readonly after: number
}

export function compare(a: Place, b: Place): number {
  return a.era - b.era || a.offset - b.offset || a.after - b.after
}

export interface Placed {
  readonly place: Place
}

/** The index of the first of all that is not before place. */
export function indexOf(all: readonly Placed[], place: Place): number {
  let low = 0
  let high = all.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(all[middle]!.place, place) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** all with one in its place; unchanged if something stands there already. */
export function insert<T extends Placed>(all: readonly T[], one: T): readonly T[] {
  const at = indexOf(all, one.place)
  const there = all[at]
  if (there !== undefined && compare(there.place, one.place) === 0) return all
  return at === all.length ? [...all, one] : all.toSpliced(at, 0, one)
}

/** The epoch and offset of a position such as "k3f9:42". */
export function readPosition(position: string): { epoch: string; offset: number } {
  const colon = position.lastIndexOf(':')
  return { epoch: position.slice(0, Math.max(colon, 0)), offset: Number(position.slice(colon + 1)) || 0 }
}
