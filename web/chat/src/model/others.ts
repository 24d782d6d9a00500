import type { Presence } from '@netra-systems/switchboard'
import { capital } from './words.ts'

/** How long it is told that a device has left. */
export const leftMs = 600_000

/** Another device of the same user. */
export interface Other {
  readonly session: string
  readonly name: string
  readonly state: OtherState
  /** On the scale of Date.now(): when this device was told that it has left. */
  readonly leftAt?: number
}

export type OtherState = 'active' | 'idle' | 'background' | 'left'

/** The other devices as they are now told, with those that have left since before. */
export function othersOf(before: readonly Other[], users: readonly Presence[], self: string | undefined, now: number): Other[] {
  const here = users
    .flatMap(({ devices }) => devices)
    .filter(({ session_id }) => session_id !== self)
    .map(({ session_id, name, state }): Other => ({ session: session_id, name: name || 'a device', state: stateOf(state) }))
  const left = before
    .filter(({ session, leftAt }) => !here.some((other) => other.session === session) && now - (leftAt ?? now) < leftMs)
    .map((other): Other => ({ ...other, state: 'left', leftAt: other.leftAt ?? now }))
  return [...here, ...left]
}

function stateOf(state: string): OtherState {
  return state === 'idle' || state === 'background' ? state : 'active'
}

/** How another device stands: "Phone is idle". */
export function otherWords({ name, state, leftAt }: Other, now: number): string {
  const who = capital(name)
  if (state === 'background') return `${who} is in the background`
  if (leftAt === undefined) return `${who} is ${state}`
  const seconds = Math.max(Math.floor((now - leftAt) / 1000), 0)
  return `${who} left ${seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`} ago`
}

/** How many other devices there are, where they are too many to be told one by one. */
export function othersWords(others: readonly Other[]): string {
  const there = others.filter(({ leftAt }) => leftAt === undefined)
  const active = there.filter(({ state }) => state === 'active').length
  return `${there.length} other devices, ${active === 0 ? 'none' : active} active`
}

/** On which device something was done of which the server tells only that it was another one. */
export function whereWords(others: readonly Other[]): string {
  const there = others.filter(({ leftAt }) => leftAt === undefined)
  return (there.length === 0 && others.length === 1 ? others : there.length === 1 ? there : [])[0]?.name ?? 'another device'
}
