import { fields, number, string, type Message } from './message.ts'
import { compare, insert, type Place, type Placed } from './place.ts'

export type RunState = 'running' | 'completed' | 'cancelled' | 'failed' | 'dead'

/** A run of an agent, folded from its events in the order of the log. */
export interface Run {
  readonly id: string
  readonly agent: string
  readonly state: RunState
  readonly events: readonly RunEvent[]
  readonly steps: readonly Step[]
  readonly streams: readonly Stream[]
  readonly end: End
}

export interface RunEvent extends Placed {
  readonly message: Message
}

/** How a run ended, as far as its last event says. */
export interface End {
  readonly ms?: number
  readonly byUser?: string
  readonly reason?: string
}

export type Step =
  | { readonly kind: 'thinking'; readonly text: string }
  | {
      readonly kind: 'tool'
      readonly tool: string
      readonly parameters: unknown
      readonly state: 'running' | 'completed' | 'failed'
      readonly result?: unknown
      readonly ms?: number
    }
  | { readonly kind: 'event'; readonly type: string; readonly payload: unknown }

export interface Stream {
  readonly id: string
  readonly text: string
  /** In code points, in which the protocol counts. */
  readonly length: number
  readonly state: 'open' | 'complete' | 'cancelled' | 'failed'
  /** How long the whole text is, where only a part of it is there. */
  readonly whole?: number
  readonly mark?: Mark
}

/** The part of a text that came after an interruption, in code points; it went on at from. */
export interface Mark {
  readonly from: number
  readonly to: number
}

export function newRun(id: string): Run {
  return { id, agent: '', state: 'running', events: [], steps: [], streams: [], end: {} }
}

/** run with one more event; the same run if it has that event. */
export function addEvent(run: Run, event: RunEvent): Run {
  const events = insert(run.events, event)
  if (events === run.events) return run
  const next = { ...run, events }
  const last = events[events.length - 1]!
  if (compare(last.place, event.place) === 0) return fold(next, event.message)
  // An older event came after newer ones, with an earlier part of the conversation.
  return events.reduce((folded: Run, { message }) => fold(folded, message), { ...next, steps: [] })
}

/** The place of the first event that is known of a run. */
export function placeOf(run: Run, otherwise: Place): Place {
  return run.events[0]?.place ?? otherwise
}

function fold(run: Run, { type, payload, agent_name }: Message): Run {
  const p = fields(payload)
  if (agent_name !== undefined && agent_name !== run.agent) run = { ...run, agent: agent_name }
  switch (type) {
    case 'agent_started':
      return run
    case 'agent_thinking':
      return step(run, { kind: 'thinking', text: string(p['reasoning']) })
    case 'tool_executing':
      return step(run, { kind: 'tool', tool: string(p['tool_name']), parameters: p['parameters'], state: 'running' })
    case 'tool_completed':
      return toolCompleted(run, p)
    case 'stream_open':
      return withStream(run, string(p['stream_id']), (s) => s)
    case 'stream_complete':
      return withStream(run, string(p['stream_id']), (s) => streamCompleted(s, p))
    case 'agent_completed':
      return ended(run, 'completed', { ms: number(p['execution_time_ms']) })
    case 'agent_cancelled':
      return ended(run, 'cancelled', { byUser: string(p['by_user']), reason: string(p['reason']) })
    case 'agent_error':
      return ended(run, 'failed', { reason: string(p['error_message']) })
    case 'agent_death':
      return ended(run, 'dead', { reason: string(p['message']) })
  }
  return step(run, { kind: 'event', type, payload })
}

function step(run: Run, one: Step): Run {
  return { ...run, steps: [...run.steps, one] }
}

function toolCompleted(run: Run, p: Readonly<Record<string, unknown>>): Run {
  const tool = string(p['tool_name'])
  const failed = p['error'] !== undefined
  const ms = number(p['execution_time_ms'])
  const at = run.steps.findIndex((s) => s.kind === 'tool' && s.tool === tool && s.state === 'running')
  const begun = run.steps[at]
  const done: Step = {
    kind: 'tool',
    tool,
    parameters: begun?.kind === 'tool' ? begun.parameters : undefined,
    state: failed ? 'failed' : 'completed',
    result: failed ? p['error'] : p['result'],
    ...(ms === undefined ? {} : { ms }),
  }
  return at < 0 ? step(run, done) : { ...run, steps: run.steps.with(at, done) }
}

function streamCompleted(s: Stream, p: Readonly<Record<string, unknown>>): Stream {
  const length = number(p['length']) ?? s.length
  const state = p['state'] === 'cancelled' || p['state'] === 'failed' ? p['state'] : 'complete'
  if (s.length >= length) return { ...s, state }
  if (typeof p['text'] === 'string') return { ...s, state, text: p['text'], length }
  return { ...s, state, whole: length }
}

function ended(run: Run, state: RunState, end: { [K in keyof End]: End[K] | undefined }): Run {
  const known = Object.fromEntries(Object.entries(end).filter(([, value]) => value !== undefined && value !== ''))
  return { ...run, state, end: known }
}

/** run with a change of one of its streams, which is new if it was not known. */
export function withStream(run: Run, id: string, change: (s: Stream) => Stream): Run {
  const at = run.streams.findIndex((s) => s.id === id)
  const before = run.streams[at] ?? { id, text: '', length: 0, state: 'open' as const }
  const after = change(before)
  if (at < 0) return { ...run, streams: [...run.streams, after] }
  return after === before ? run : { ...run, streams: run.streams.with(at, after) }
}

/** A stream with more text. Text never shrinks: what is shorter is older. */
export function grown(s: Stream, text: string, length: number): Stream {
  if (length <= s.length) return s
  const { whole, ...rest } = s
  return { ...rest, text, length, ...(whole !== undefined && whole > length ? { whole } : {}) }
}
