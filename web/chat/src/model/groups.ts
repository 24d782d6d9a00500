import type { Item } from './conversation.ts'

/** Items that stand side by side. */
export interface Group {
  readonly key: string
  readonly items: readonly Item[]
}

/** Offsets of a group: few, as one item that grows has all of its group looked at. */
const size = 32

/** The key of the group that an item is in. Its own place says so, so that none moves to another one when older items come. */
export function groupOf({ place: { era, offset } }: Item): string {
  return `${era}:${Math.floor(offset / size)}`
}

/** The items in groups. A group that has the same items as before is the same object. */
export function grouped(items: readonly Item[], before: readonly Group[] = []): readonly Group[] {
  const known = new Map(before.map((group) => [group.key, group]))
  const groups: Group[] = []
  for (let from = 0; from < items.length; ) {
    const to = endOfGroup(items, from)
    const key = groupOf(items[from]!)
    const group = known.get(key)
    groups.push(group !== undefined && isPart(group.items, items, from, to) ? group : { key, items: items.slice(from, to) })
    from = to
  }
  return groups
}

// Both go through all items for each frame, and so call nothing for any of them.

function endOfGroup(items: readonly Item[], from: number): number {
  const { era, offset } = items[from]!.place
  const last = (Math.floor(offset / size) + 1) * size
  let to = from + 1
  while (to < items.length && items[to]!.place.era === era && items[to]!.place.offset < last) to++
  return to
}

function isPart(part: readonly Item[], items: readonly Item[], from: number, to: number): boolean {
  if (part.length !== to - from) return false
  for (let at = from; at < to; at++) if (items[at] !== part[at - from]) return false
  return true
}
