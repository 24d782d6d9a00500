import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { comeBack, live, type Bench, type FakeSocket } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const user = (user_id: string, state = 'active', online = true) => ({ user_id, online, devices: [{ session_id: `s-${user_id}`, state }] })

const state = (users: object[], more: object = {}) => ({ type: 'presence_state', topic: 'room/team', payload: { users, count: users.length, ...more } })

const diff = (changes: object, count: number) => ({
  type: 'presence_diff',
  topic: 'room/team',
  payload: { joins: [], leaves: [], updates: [], count, ...changes },
})

/** What was told, as "topic: user state, … (count)". */
const told = (b: Bench) =>
  b.of('presence').map(({ topic, users, count }) => `${topic}: ${users.map((u) => `${u.user_id} ${u.devices[0]!.state}`).join(', ')} (${count})`)

const said = (s: FakeSocket) => s.sent.filter((m) => m.type === 'presence_update').map((m) => m.payload)

test('differences are told as all who are there', async () => {
  const b = await live()
  b.socket().say(
    state([user('alice'), user('bob')]),
    diff({ joins: [user('carol')], updates: [user('bob', 'idle')] }, 3),
    diff({ leaves: [user('alice', 'active', false)] }, 2),
    { ...state([user('dave')]), topic: 'user/alice' },
    state([user('erin')]),
  )
  expect(told(b)).toEqual([
    'room/team: alice active, bob active (2)',
    'room/team: alice active, bob idle, carol active (3)',
    'room/team: bob idle, carol active (2)',
    'user/alice: dave active (1)',
    'room/team: erin active (1)',
  ])
  expect(b.of('message')).toEqual([])
})

test('of a large room the number is told', async () => {
  const b = await live()
  b.socket().say(state([], { count: 300 }), diff({}, 301))
  expect(told(b)).toEqual(['room/team:  (300)', 'room/team:  (301)'])
})

test('who is not known to be there yet is told later', async () => {
  const b = await live()
  b.socket().say(state([user('alice')], { incomplete: true }), diff({ joins: [user('bob')] }, 2), state([user('alice'), user('bob'), user('carol')]))
  expect(b.of('presence').map(({ count, incomplete }) => [count, incomplete])).toEqual([
    [1, true],
    [2, true],
    [3, false],
  ])
})

test('a difference counts from the state of the same connection, and of a room that is followed', async () => {
  const b = await live()
  b.socket().say(diff({ joins: [user('bob')] }, 1), state([user('bob')]))
  const s = await comeBack(b)
  s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
  s.say(diff({ joins: [user('carol')] }, 2), state([user('carol')]))
  s.say({ type: 'room_left', payload: { room: 'team' } }, diff({ joins: [user('dave')] }, 2))
  expect(told(b)).toEqual(['room/team: bob active (1)', 'room/team: carol active (1)'])
})

test('what the user does is said at once, and again on each new connection', async () => {
  const b = await live()
  expect(said(b.socket())).toEqual([]) // nothing is said by itself
  b.client.presence('idle', { in: 'a call' })
  b.client.presence('background')
  expect(said(b.socket())).toEqual([{ state: 'idle', meta: { in: 'a call' } }, { state: 'background' }])

  const s = await comeBack(b)
  b.client.presence('idle')
  expect(said(s)).toEqual([]) // not before the restore is answered
  s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
  expect(said(s)).toEqual([{ state: 'idle' }])
})

test('its answer is nobody’s message, and a refusal is an error', async () => {
  const b = await live()
  b.client.presence('idle', { far: 'x'.repeat(2000) })
  const { message_id } = b.socket().last('presence_update')!
  b.socket().say({ type: 'ack', message_id, payload: { message_id, status: 'ok' } })
  expect(b.of('message')).toEqual([])
  b.socket().say({ type: 'error_message', message_id, error_code: 'INVALID_MESSAGE', error_message: 'meta' })
  expect(b.of('error').map((e) => e.code)).toEqual(['INVALID_MESSAGE'])
})
