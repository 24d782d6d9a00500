import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { comeBack, live, message, settle, type FakeSocket } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const typed = (s: FakeSocket) =>
  s.sent.filter((m) => m.type.startsWith('typing_')).map((m) => [m.type.slice(7), m.payload.room, m['thread_id']].filter(Boolean).join(' '))

const says = (is_typing: boolean, more: Record<string, unknown> = {}) => ({
  type: 'user_typing',
  topic: 'room/team',
  user_id: 'bob',
  payload: { user_id: 'bob', is_typing, expires_in: 5 },
  ...more,
})

test('that the user types is told every two seconds at most', async () => {
  const b = await live()
  for (let i = 0; i < 50; i++) {
    b.client.typing({ room: 'team' })
    await settle(100)
  }
  expect(typed(b.socket())).toEqual(['started team', 'started team', 'started team'])
  b.client.typing({ room: 'team' }, false)
  b.client.typing({ room: 'team' }, false)
  b.client.typing()
  b.client.typing({ room: 'team', threadId: 't1' })
  expect(typed(b.socket()).slice(3)).toEqual(['stopped team', 'started', 'started team t1'])
  expect(vi.getTimerCount()).toBeLessThan(4) // no timer for each
})

test('a message ends it, and so does time', async () => {
  const b = await live()
  b.client.typing({ room: 'team', threadId: 't1' })
  b.client.typing({ threadId: 't1' })
  b.client.send({ type: 'user_message', room: 'team', threadId: 't1', payload: {} })
  expect(typed(b.socket())).toEqual(['started team t1', 'started t1', 'stopped team t1'])
  expect(b.socket().sent.at(-1)!.type).toBe('user_message')
  await settle(5000)
  b.client.typing({ threadId: 't1' }, false) // the server has forgotten it
  expect(typed(b.socket())).toHaveLength(3)
})

test('without a connection nothing is told, and on a new one it is told at once', async () => {
  const b = await live()
  b.client.typing()
  const s = await comeBack(b)
  b.client.typing()
  expect(typed(s)).toEqual([])
  s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
  b.client.typing()
  expect(typed(s)).toEqual(['started'])
})

test('others begin once, however often they say so, and end once', async () => {
  const b = await live()
  for (let i = 0; i < 5; i++) {
    b.socket().say(says(true))
    await settle(2000)
  }
  b.socket().say(says(false), says(false))
  const who = { userId: 'bob', topic: 'room/team' }
  expect(b.of('typing')).toEqual([{ ...who, typing: true }, { ...who, typing: false }])
  expect(b.of('message')).toEqual([])
})

test('others end by themselves, by a message of theirs, and with the connection', async () => {
  const b = await live()
  const types = () => b.of('typing').map((t) => `${t.userId} ${t.threadId ?? ''} ${t.typing}`)
  b.socket().say(says(true, { thread_id: 't1' }))
  await settle(4999)
  expect(types()).toEqual(['bob t1 true'])
  await settle(1)
  expect(types()).toEqual(['bob t1 true', 'bob t1 false'])

  b.socket().say(says(true), says(true, { thread_id: 't1' }))
  b.socket().say(message(1, { type: 'room_message', topic: 'room/team', user_id: 'bob' }))
  expect(types().slice(2)).toEqual(['bob  true', 'bob t1 true', 'bob  false'])
  expect(b.told.at(-1)!.event).toBe('message') // behind the end
  b.socket().say(message(2, { type: 'agent_started', topic: 'room/team', user_id: 'bob', thread_id: 't1', run_id: 'R' }))
  expect(types()).toHaveLength(5)

  b.socket().cut()
  expect(types().slice(5)).toEqual(['bob t1 false'])
})

test('a mark is asked for and answered, and others are told', async () => {
  const b = await live()
  b.socket().answer = (m) => {
    if (m.type !== 'mark_read') return
    b.socket().say({ type: 'ack', message_id: m.message_id, payload: { message_id: m.message_id, status: 'ok', position: 'e1:9' } })
  }
  expect(await b.client.markRead({ threadId: 't1', position: 'e1:7' })).toBe('e1:9')
  expect(b.socket().last('mark_read')!.payload).toEqual({ thread_id: 't1', position: 'e1:7' })
  await b.client.markRead({ threadId: '', position: 'e1:7' })
  expect(b.socket().last('mark_read')!.payload).toEqual({ position: 'e1:7' })
  const marker = (payload: object) => ({ type: 'read_marker', topic: 'user/alice', user_id: 'alice', payload })
  b.socket().say(marker({ thread_id: 't1', position: 'e1:9' }), marker({ room: 'r', position: 'e2:1' }), marker({ position: 'e1:3' }))
  expect(b.of('readMarker')).toEqual([
    { threadId: 't1', position: 'e1:9' },
    { room: 'r', position: 'e2:1' },
    { threadId: '', position: 'e1:3' },
  ])
  expect(b.of('message')).toEqual([])
})
