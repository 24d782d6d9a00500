import { codePoints } from '@netra-systems/switchboard'
import { said, type Message } from './message.ts'
import { compare, indexOf, insert, readPosition, type Place, type Placed } from './place.ts'
import { addEvent, grown, newRun, placeOf, withStream, type Mark, type Run } from './run.ts'

/**
 * What one device shows of a thread. Every function here returns a new conversation and
 * shares what did not change, so that only items that are new objects are drawn again.
 */
export interface Conversation {
  /** The topic whose offsets order the conversation. */
  readonly topic: string
  readonly items: readonly Item[]
  /** Where each run stands. */
  readonly runs: ReadonlyMap<string, Place>
  /** The runs that are running, in the order in which they came. */
  readonly live: readonly string[]
  readonly pending: readonly Pending[]
  /** The epochs of the topic's log that were seen, oldest first. */
  readonly epochs: readonly string[]
  /** The oldest message that a snapshot had; earlier is the same if there are older ones. */
  readonly oldest?: string
  readonly earlier?: string
  /** Messages that are gone, as told by gaps; more of them if lostMore. */
  readonly lost: number
  readonly lostMore?: boolean
}

export type Item = Placed & { readonly key: string } & (
    | { readonly kind: 'question'; readonly text: string; readonly id: string; readonly user: string }
    | { readonly kind: 'run'; readonly run: Run }
    | { readonly kind: 'message'; readonly message: Message }
    | { readonly kind: 'gap'; readonly gap: Gap }
  )

export interface Gap {
  readonly topic: string
  readonly from: string
  readonly to: string
  readonly reason: string
  readonly count?: number
}

/** A question of this device that the log does not have yet, as far as it knows. */
export interface Pending {
  readonly id: string
  readonly text: string
  readonly status: 'sending' | 'sent' | 'failed'
  readonly error?: string
  /** It is too large: as it is it can never be sent. */
  readonly tooLarge?: boolean
}

/** The part of a thread that a snapshot holds. */
export interface Snapshot {
  readonly messages: readonly Message[]
  readonly runs: readonly {
    readonly run_id: string
    readonly agent_name?: string
    readonly streams: readonly { readonly stream_id: string; readonly text?: string }[]
  }[]
  readonly position: string
  readonly hasMore: boolean
}

export function newConversation(topic: string): Conversation {
  return { topic, items: [], runs: new Map(), live: [], pending: [], epochs: [], lost: 0 }
}

/** Adds a message of the log, whichever way and how often it came. */
export function addMessage(c: Conversation, message: Message): Conversation {
  if (message.position === undefined) return c
  const { epoch, offset } = readPosition(message.position)
  const ours = message.topic === c.topic
  const seen = withEpoch(c, ours ? epoch : '')
  const place = ours ? { era: seen.epochs.indexOf(epoch), offset, after: 0 } : behind(seen)
  if (message.run_id !== undefined) return changeRun(seen, message.run_id, place, (run) => addEvent(run, { place, message }))
  const key = `${message.topic}:${message.position}`
  if (message.type === 'user_message' || message.type === 'chat') {
    const id = message.message_id ?? key
    const item: Item = { kind: 'question', key, place, text: said(message.payload), id, user: message.user_id ?? '' }
    return { ...seen, items: insert(seen.items, item), pending: seen.pending.filter((p) => p.id !== id) }
  }
  if (seen.items.some((item) => item.key === key)) return seen
  return { ...seen, items: insert(seen.items, { kind: 'message', key, place, message }) }
}

/** Adds text of a stream: all of it up to length, in code points. */
export function addText(c: Conversation, runId: string, streamId: string, text: string, length: number): Conversation {
  return changeRun(c, runId, end(c), (run) => withStream(run, streamId, (s) => grown(s, text, length)))
}

/** Adds a snapshot; an older one is an earlier part of the same thread. */
export function addSnapshot(c: Conversation, snapshot: Snapshot): Conversation {
  let next = withEpoch(c, readPosition(snapshot.position).epoch)
  for (const message of snapshot.messages) next = addMessage(next, message)
  for (const run of snapshot.runs) {
    for (const { stream_id, text = '' } of run.streams) next = addText(next, run.run_id, stream_id, text, codePoints(text))
  }
  const { oldest: known, earlier: _, ...rest } = next
  const oldest = snapshot.messages[0]?.position
  if (known !== undefined && (oldest === undefined || !isBefore(next, oldest, known))) return next
  return { ...rest, ...(oldest !== undefined && { oldest }), ...(snapshot.hasMore && oldest !== undefined && { earlier: oldest }) }
}

/**
 * Ends the runs that a snapshot of now does not have any more though nothing told of their
 * end: what told of it is gone.
 */
export function endUnknownRuns(c: Conversation, { runs, position }: Snapshot): Conversation {
  const { epoch, offset } = readPosition(position)
  const at: Place = { era: c.epochs.indexOf(epoch), offset, after: 0 }
  let next = c
  for (const run of running(c)) {
    const last = run.events[run.events.length - 1]?.place
    if (last === undefined || compare(last, at) > 0 || runs.some(({ run_id }) => run_id === run.id)) continue
    next = changeRun(next, run.id, last, (r) => ({ ...r, state: 'dead', end: { reason: 'the server does not know it any more' } }))
  }
  return next
}

/** Adds what tells that messages are gone. Of those that only pass, such as who types, a conversation has none. */
export function addGap(c: Conversation, gap: Gap): Conversation {
  if (gap.reason === 'volatile') return c
  const from = readPosition(gap.from)
  const to = readPosition(gap.to)
  const ours = gap.topic === c.topic
  const seen = withEpoch(withEpoch(c, ours ? from.epoch : ''), ours ? to.epoch : '')
  const place = ours ? { era: seen.epochs.indexOf(to.epoch), offset: to.offset, after: -1 } : behind(seen)
  const key = `gap:${gap.topic}:${gap.from}:${gap.to}`
  if (seen.items.some((item) => item.key === key)) return seen
  return { ...seen, items: insert(seen.items, { kind: 'gap', key, place, gap }), lost: seen.lost + (gap.count ?? 0), ...(gap.count === undefined && { lostMore: true }) }
}

/** Notes what became of a question: it is shown until the log has it. */
export function addPending(c: Conversation, one: Pending): Conversation {
  if (c.items.some((item) => item.kind === 'question' && item.id === one.id)) return c
  const at = c.pending.findIndex((p) => p.id === one.id)
  return { ...c, pending: at < 0 ? [...c.pending, one] : c.pending.with(at, one) }
}

/** Takes a question back that was not sent. */
export function dropPending(c: Conversation, id: string): Conversation {
  return { ...c, pending: c.pending.filter((one) => one.id !== id) }
}

/** Marks where texts went on, or takes a mark away. */
export function markStream(c: Conversation, streamId: string, mark: Mark | undefined): Conversation {
  const runId = streamId.slice(0, streamId.lastIndexOf('/'))
  if (!c.runs.has(runId)) return c
  return changeRun(c, runId, end(c), (run) =>
    withStream(run, streamId, (s) => {
      const { mark: _, ...bare } = s
      return mark === undefined ? bare : { ...bare, mark }
    }),
  )
}

/** The position of the newest message that is shown. */
export function newest(c: Conversation): string | undefined {
  let last: Place | undefined
  for (const item of c.items) {
    const place = item.kind === 'run' ? (item.run.events[item.run.events.length - 1]?.place ?? item.place) : item.place
    if (last === undefined || compare(place, last) > 0) last = place
  }
  const epoch = c.epochs[last?.era ?? 0]
  return last === undefined || epoch === undefined || last.offset === 0 ? undefined : `${epoch}:${last.offset}`
}

/** The item that a position of the conversation's topic lies in: the last one that begins there or before. */
export function itemAt(c: Conversation, position: string): Item | undefined {
  const { epoch, offset } = readPosition(position)
  const place: Place = { era: c.epochs.indexOf(epoch), offset, after: Infinity }
  return c.items[indexOf(c.items, place) - 1]
}

export function runsOf(c: Conversation): Run[] {
  return c.items.flatMap((item) => (item.kind === 'run' ? [item.run] : []))
}

/** The newest runs, at most so many, newest first. */
export function newestRuns(c: Conversation, most: number): Run[] {
  const runs: Run[] = []
  for (let at = c.items.length - 1; at >= 0 && runs.length < most; at--) {
    const item = c.items[at]!
    if (item.kind === 'run') runs.push(item.run)
  }
  return runs
}

export function runOf(c: Conversation, id: string): Run | undefined {
  const place = c.runs.get(id)
  const item = place && c.items[indexOf(c.items, place)]
  return item?.kind === 'run' ? item.run : undefined
}

export function running(c: Conversation): Run[] {
  return c.live.map((id) => runOf(c, id)!)
}

/** Changes a run, which is new if it was not known. Only here do runs come, move and end. */
function changeRun(c: Conversation, id: string, place: Place, change: (run: Run) => Run): Conversation {
  const before = runOf(c, id)
  const run = change(before ?? newRun(id))
  if (run === before) return c
  const was = c.runs.get(id)
  const item: Item = { kind: 'run', key: `run:${id}`, place: placeOf(run, was ?? place), run }
  const live = withLive(c.live, run)
  const at = was === undefined ? -1 : indexOf(c.items, was)
  if (was !== undefined && compare(item.place, was) === 0) return { ...c, items: c.items.with(at, item), live }
  const items = insert(at < 0 ? c.items : c.items.toSpliced(at, 1), item)
  if (items === c.items) return c // something else stands there
  return { ...c, items, runs: new Map(c.runs).set(id, item.place), live }
}

function withLive(live: readonly string[], { id, state }: Run): readonly string[] {
  if (live.includes(id) === (state === 'running')) return live
  return state === 'running' ? [...live, id] : live.filter((other) => other !== id)
}

function withEpoch(c: Conversation, epoch: string): Conversation {
  return epoch === '' || c.epochs.includes(epoch) ? c : { ...c, epochs: [...c.epochs, epoch] }
}

/** The place of something without an offset of its own: behind what is there. */
function behind(c: Conversation): Place {
  const last = end(c)
  return { ...last, after: last.after + 1 }
}

function end(c: Conversation): Place {
  const last = c.items[c.items.length - 1]
  if (last === undefined) return { era: Math.max(c.epochs.length - 1, 0), offset: 0, after: 0 }
  const newest = last.kind === 'run' ? (last.run.events[last.run.events.length - 1]?.place ?? last.place) : last.place
  return compare(newest, last.place) > 0 ? newest : last.place
}

function isBefore(c: Conversation, a: string, b: string): boolean {
  const [x, y] = [readPosition(a), readPosition(b)]
  return c.epochs.indexOf(x.epoch) < c.epochs.indexOf(y.epoch) || (x.epoch === y.epoch && x.offset < y.offset)
}
