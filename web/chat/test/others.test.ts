import type { Presence } from '@netra-systems/switchboard'
import { expect, test } from 'vitest'
import { leftMs, othersOf, othersWords, otherWords, whereWords, type Other } from '../src/model/others.ts'

/** A user with devices such as "phone idle"; a session has the name of its device. */
const there = (...devices: string[]): Presence[] => [
  { user_id: 'alice', online: true, devices: devices.map((d) => d.split(' ')).map(([name = '', state = '']) => ({ session_id: name, name, state })) },
]

const words = (others: readonly Other[], now: number) => others.map((other) => otherWords(other, now))

test('the other devices are told, and for a while those that have left', () => {
  const first = othersOf([], there('laptop active', 'phone idle', 'tablet background', 'tv glowing'), 'laptop', 1000)
  expect(words(first, 1000)).toEqual(['Phone is idle', 'Tablet is in the background', 'Tv is active'])
  const second = othersOf(first, there('laptop active', 'tablet active'), 'laptop', 2000)
  expect(words(second, 14_999)).toEqual(['Tablet is active', 'Phone left 12 s ago', 'Tv left 12 s ago'])
  const third = othersOf(second, there('laptop active', 'phone active'), 'laptop', 60_000)
  expect(words(third, 62_000)).toEqual(['Phone is active', 'Tablet left 2 s ago', 'Tv left 1 min ago'])
  expect(words(othersOf(third, there('laptop active', 'phone active'), 'laptop', 2000 + leftMs), 0)).toEqual(['Phone is active', 'Tablet left 0 s ago'])
  expect(othersOf([], [], 'laptop', 0)).toEqual([])
})

test('many devices are counted', () => {
  const four = othersOf([], there('laptop active', 'phone idle', 'tablet active', 'tv background'), 'laptop', 0)
  expect(othersWords(four)).toBe('3 other devices, 1 active')
  expect(othersWords(othersOf(four, there('phone idle', 'tv background'), 'laptop', 0))).toBe('2 other devices, none active')
})

test('another device has a name where there is only one', () => {
  const one = othersOf([], there('laptop active', 'phone idle'), 'laptop', 0)
  expect(whereWords(one)).toBe('phone')
  const gone = othersOf(one, there('laptop active'), 'laptop', 0)
  expect(whereWords(gone)).toBe('phone')
  expect(whereWords(othersOf(gone, there('laptop active', 'tablet active'), 'laptop', 0))).toBe('tablet')
  expect(whereWords(othersOf([], there('phone active', 'tablet active'), 'laptop', 0))).toBe('another device')
  expect(whereWords([])).toBe('another device')
})
