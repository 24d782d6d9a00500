import type { ConnectionState, Recovery } from '@netra-systems/switchboard'
import type { Gap } from './conversation.ts'
import { fields, string } from './message.ts'
import type { Run, Step } from './run.ts'

const digits = new Intl.NumberFormat('en')

/** A number with what is counted: "1 frame", "1,284 characters". */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${digits.format(n)} ${n === 1 ? one : many}`
}

/** A time as one reads it: "0.4 ms", "12 ms", "1.3 s". */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 0.05) return 'under 0.1 ms'
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`
}

/** Whole seconds that are left until a time, at least 1 before it. */
export function secondsLeft(until: number, now: number): number {
  return Math.max(Math.ceil((until - now) / 1000), 0)
}

export function stateWords(state: ConnectionState, unplugged: boolean, now: number): string {
  switch (state.status) {
    case 'idle':
      return 'Not connected'
    case 'connecting':
      if (unplugged) return 'Unplugged. Trying now'
      return state.attempt > 1 ? `Connecting, attempt ${state.attempt}` : 'Connecting'
    case 'restoring':
      return 'Catching up'
    case 'live':
      return 'Live'
    case 'waiting': {
      const seconds = secondsLeft(state.retryAt, now)
      return `${unplugged ? 'Unplugged' : 'Disconnected'}. Trying again ${seconds === 0 ? 'now' : `in ${seconds} s`}`
    }
    case 'closed':
      return `Closed: ${state.reason}`
  }
}

/** How many messages are gone: "0 lost", or what is known of it. */
export function lostWords(lost: number, more = false): string {
  if (!more) return `${digits.format(lost)} lost`
  return lost === 0 ? 'some lost' : `more than ${digits.format(lost)} lost`
}

/** What a device got after it had been away. */
export function recoveryWords(r: Recovery): string {
  const nothing = r.messages === 0 && r.characters === 0
  if (r.lostUnknown) return 'Back, but the server began a new log: what it had not delivered before is gone.'
  const lost = r.lost === 0 ? 'Nothing lost.' : `${count(r.lost, 'message')} lost: not kept any more.`
  if (nothing) return r.lost === 0 ? 'Caught up: nothing was missed. Nothing lost.' : `Caught up. ${lost}`
  const what = [r.messages > 0 && count(r.messages, 'message'), r.characters > 0 && count(r.characters, 'character')]
  return `Caught up ${what.filter(Boolean).join(' and ')} in ${count(r.frames, 'frame')}, ${duration(r.ms)}. ${lost}`
}

/** What a device got that had begun with nothing. */
export function reloadWords(messages: number, characters: number, frames: number, ms: number): string {
  return `Loaded again from nothing: ${count(messages, 'message')} and ${count(characters, 'character')} in ${count(frames, 'frame')}, ${duration(ms)}.`
}

/** At which character a text went on. */
export function wentOnWords(from: number): string {
  return `The text went on at character ${digits.format(from + 1)}.`
}

export function gapWords(gap: Gap): string {
  if (gap.reason === 'epoch_changed') return 'The server began a new log here. What was not delivered before is gone.'
  const what = gap.count ? `${count(gap.count, 'message')} ${gap.count === 1 ? 'is' : 'are'} gone` : 'Messages are gone'
  return `${what}: kept for 7 days`
}

/** "3 steps, 12 ms": what tools took, as they reported it. */
export function stepsWords(steps: readonly Step[]): string {
  let ms = 0
  for (const step of steps) if (step.kind === 'tool') ms += step.ms ?? 0
  return `${count(steps.length, 'step')}, ${duration(ms)}`
}

/** A call as one writes it: search("resume", limit 10). */
export function callWords(tool: string, parameters: unknown): string {
  const all = Object.entries(fields(parameters)).map(([name, value], i) => {
    const shown = typeof value === 'string' ? JSON.stringify(value) : JSON.stringify(value) ?? ''
    return i === 0 ? shown : `${name} ${shown}`
  })
  return `${tool}(${all.join(', ')})`
}

/** What a result holds, in a word: "6 hits". */
export function resultWords(result: unknown): string {
  for (const [name, value] of Object.entries(fields(result))) {
    if (Array.isArray(value)) return value.length === 1 ? `1 ${name.replace(/s$/, '')}` : `${digits.format(value.length)} ${name}`
  }
  return string(result).slice(0, 80)
}

/** How a run stands. */
export function runWords(run: Run): string {
  const { byUser, reason, ms } = run.end
  switch (run.state) {
    case 'running':
      return run.streams.length === 0 ? 'Working' : 'Answering'
    case 'completed':
      return ms === undefined ? 'Answered' : `Answered in ${duration(ms)}`
    case 'cancelled':
      return byUser ? `Stopped by ${byUser}` : `Stopped: ${reason ?? 'no reason given'}`
    case 'failed':
      return `Failed: ${reason ?? 'no reason given'}`
    case 'dead':
      return `The agent is gone: ${reason ?? 'no sign of life'}`
  }
}

/** A name as it begins a line. */
export function capital(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1)
}
