import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { comeBack, live, message, settle, type FakeSocket } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const acks = (s: FakeSocket) => s.sent.filter((m) => m.type === 'ack').map((m) => m.payload)

test('of a hundred messages few acks are sent, and none when nothing is new', async () => {
  const b = await live()
  const socket = b.socket()
  for (let n = 1; n <= 100; n++) {
    socket.say(message(n))
    await settle(50)
  }
  await settle(20_000)
  const sent = acks(socket)
  expect(sent.length).toBeGreaterThan(1)
  expect(sent.length).toBeLessThan(5)
  expect(sent.at(-1)).toEqual({ positions: { 'user/alice': 'e1:100' }, seen: {} })
})

test('close tells at once what has arrived and was seen', async () => {
  const b = await live()
  b.socket().say(message(1), message(2))
  b.client.seen(b.of('message')[0]!)
  b.client.seen({ topic: 'user/alice' }) // has no place
  b.client.close()
  expect(acks(b.socket())).toEqual([{ positions: { 'user/alice': 'e1:2' }, seen: { 'user/alice': 'e1:1' } }])
  await settle(10_000)
  expect(vi.getTimerCount()).toBe(0)
})

test('what was seen never goes back', async () => {
  const b = await live()
  b.socket().say(message(1), message(2))
  const [first, second] = b.of('message')
  b.client.seen(second!)
  await settle(2000)
  b.client.seen(first!)
  b.client.seen(second!)
  await settle(10_000)
  expect(acks(b.socket())).toEqual([{ positions: { 'user/alice': 'e1:2' }, seen: { 'user/alice': 'e1:2' } }])
})

test('what was told on a connection that was lost is told again, once it is restored', async () => {
  const b = await live()
  b.socket().say(message(1))
  await settle(2000)
  expect(acks(b.socket())).toHaveLength(1)
  const s = await comeBack(b)
  await settle(5000)
  expect(acks(s)).toEqual([])
  s.restored({ 'user/alice': 'e1:1', all: 'e1:0' })
  await settle(2000)
  expect(acks(s)).toEqual([{ positions: { 'user/alice': 'e1:1' }, seen: {} }])
})

test('a room that was left is not told of, and the refusal of an ack is nobody’s concern', async () => {
  const b = await live()
  b.socket().say({ type: 'room_joined', payload: { room: 'r1', members: [], position: 'e9:3' } })
  b.socket().say(message(4, { topic: 'room/r1' }), message(1), { type: 'room_left', payload: { room: 'r1', reason: 'removed' } })
  await settle(2000)
  expect(acks(b.socket())).toEqual([{ positions: { 'user/alice': 'e1:1' }, seen: {} }])
  b.socket().say({ type: 'error_message', error_code: 'FORBIDDEN', error_message: 'no', message_id: b.socket().last('ack')!.message_id })
  expect(b.of('error')).toEqual([])
})
