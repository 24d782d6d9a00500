import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { bench, comeBack, live, message, settle, type Bench, type FakeSocket } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const say = (b: Bench, n: number, more = {}) => b.client.send({ type: 'user_message', payload: { n }, ...more })
const numbers = (s: FakeSocket) => s.sent.filter((m) => m.type === 'user_message').map((m) => m.payload.n)

function ack(s: FakeSocket, more: Record<string, unknown> = {}) {
  const { message_id } = s.last('user_message')!
  s.say({ type: 'ack', message_id, payload: { message_id, status: 'ok', position: 'e1:1', ...more } })
}

function refuse(s: FakeSocket, code: string, details: Record<string, unknown> = {}, type = 'user_message') {
  s.say({ type: 'error_message', error_code: code, error_message: code, details, message_id: s.last(type)!.message_id })
}

describe('the outbox', () => {
  test('tells of a message until its ack, which has its place and its run', async () => {
    const b = await live()
    const item = say(b, 1, { threadId: 't1', room: 'r1' })
    expect(item).toMatchObject({ type: 'user_message', status: 'sending', threadId: 't1', payload: { n: 1 } })
    expect(b.socket().last('user_message')).toEqual({
      type: 'user_message',
      message_id: item.id,
      thread_id: 't1',
      topic: 'room/r1',
      payload: { n: 1 },
    })
    expect(b.client.outbox).toEqual([item])
    ack(b.socket(), { result: { run_id: 'R' } })
    expect(b.client.outbox).toEqual([])
    expect(b.of('outbox')).toMatchObject([
      { id: item.id, status: 'sending' },
      { id: item.id, status: 'sent', position: 'e1:1', runId: 'R', ack: { status: 'ok' } },
    ])
  })

  test('the message itself, which comes back with the same id, is not its ack', async () => {
    const b = await live()
    const item = say(b, 1)
    b.socket().say(message(1, { type: 'user_message', message_id: item.id }))
    b.socket().say({ type: 'user_message', message_id: item.id, payload: {} })
    expect(b.client.outbox).toHaveLength(1)
    ack(b.socket())
    expect(b.client.outbox).toHaveLength(0)
  })

  test('keeps the order: the next one goes when the former is answered', async () => {
    const b = bench()
    for (const n of [1, 2, 3]) say(b, n)
    b.client.connect()
    await settle()
    expect(b.socket().sent).toEqual([])
    b.socket().welcome()
    expect(numbers(b.socket())).toEqual([1])
    ack(b.socket())
    ack(b.socket())
    expect(numbers(b.socket())).toEqual([1, 2, 3])
  })

  test('sends again on each connection, with the same id, behind the restore, until the ack', async () => {
    const b = await live()
    const { id } = say(b, 1)
    say(b, 2)
    for (let i = 0; i < 3; i++) {
      const s = await comeBack(b)
      expect(numbers(s)).toEqual([])
      s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
      expect(numbers(s)).toEqual([1])
      expect(s.last('user_message')!.message_id).toBe(id)
    }
    ack(b.socket(), { status: 'duplicate' })
    expect(numbers(b.socket())).toEqual([1, 2])
  })

  test.each([
    ['RATE_LIMITED', 4000],
    ['BUSY', 1000],
    ['UNAVAILABLE', 250],
  ])('%s is tried again after its time, and nothing overtakes it', async (code, ms) => {
    const b = await live()
    const { id } = say(b, 1)
    refuse(b.socket(), code, { retry_after_ms: ms })
    say(b, 2)
    await settle(ms - 1)
    expect(numbers(b.socket())).toEqual([1])
    await settle(1)
    expect(numbers(b.socket())).toEqual([1, 1])
    expect(b.socket().last('user_message')!.message_id).toBe(id)
    ack(b.socket())
    expect(numbers(b.socket())).toEqual([1, 1, 2])
    expect(b.of('outbox').map((o) => o.status)).toEqual(['sending', 'sending', 'sent'])
  })

  test('other refusals make it failed; the next one goes; retry() sends it with the same id', async () => {
    const b = await live()
    const { id } = say(b, 1)
    say(b, 2)
    refuse(b.socket(), 'FORBIDDEN')
    expect(numbers(b.socket())).toEqual([1, 2])
    expect(b.client.outbox).toMatchObject([{ id, status: 'failed', error: { code: 'FORBIDDEN' } }, { status: 'sending' }])
    b.client.retry(id)
    b.client.retry(id)
    b.client.retry('unknown')
    ack(b.socket())
    expect(numbers(b.socket())).toEqual([1, 2, 1])
    expect(b.client.outbox).toMatchObject([{ id, status: 'sending' }])
    expect(b.client.outbox[0]).not.toHaveProperty('error')
  })

  test('discard() takes out what has failed, and nothing else', async () => {
    const b = await live()
    const { id } = say(b, 1)
    expect(b.client.discard(id)).toBe(false)
    refuse(b.socket(), 'FORBIDDEN')
    expect(b.client.discard('unknown')).toBe(false)
    expect(b.client.discard(id)).toBe(true)
    expect(b.client.discard(id)).toBe(false)
    expect(b.client.outbox).toEqual([])
    b.client.retry(id)
    say(b, 2)
    expect(numbers(b.socket())).toEqual([1, 2])
  })

  test('what was discarded leaves its room to others', async () => {
    const b = await live()
    for (let n = 0; n < 1000; n++) say(b, n)
    refuse(b.socket(), 'FORBIDDEN')
    expect(() => say(b, 1000)).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }))
    b.client.discard(b.client.outbox[0]!.id)
    expect(() => say(b, 1000)).not.toThrow()
  })

  test('refuses what is too much, and drops nothing', async () => {
    const b = bench()
    for (let n = 0; n < 1000; n++) say(b, n)
    expect(() => say(b, 1000)).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }))
    expect(b.client.outbox).toHaveLength(1000)
    const c = bench()
    const mebibyte = 'x'.repeat(1 << 20)
    for (let n = 0; n < 3; n++) c.client.send({ type: 'user_message', payload: { mebibyte } })
    expect(() => c.client.send({ type: 'user_message', payload: { mebibyte } })).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }))
    expect(() => say(c, 1)).not.toThrow()
  })

  test('does not send what the server would close the connection for', async () => {
    const b = await live({}, { config: { heartbeat_interval: 25, max_message_size: 300 } })
    b.client.send({ type: 'user_message', payload: { content: '🙂'.repeat(60) } })
    say(b, 2)
    expect(numbers(b.socket())).toEqual([2])
    expect(b.client.outbox).toMatchObject([{ status: 'failed', error: { code: 'TOO_LARGE', details: { limit: 300 } } }, {}])
    await expect(b.client.request('steer', { run_id: 'R', text: 'x'.repeat(300) })).rejects.toMatchObject({ code: 'TOO_LARGE' })
    expect(b.socket().last('steer')).toBeUndefined()
  })

  test('after close 1009 what was under way fails, once, and the rest goes on', async () => {
    const b = await live()
    say(b, 1)
    say(b, 2)
    b.socket().end(1009)
    expect(b.client.outbox).toMatchObject([{ status: 'failed', error: { code: 'TOO_LARGE' } }, { status: 'sending' }])
    await settle(1000)
    b.socket().welcome()
    b.socket().restored({})
    expect(numbers(b.socket())).toEqual([2])
    // With an error_message that names it, it is known which one it was.
    refuse(b.socket(), 'TOO_LARGE')
    say(b, 3)
    b.socket().end(1009)
    expect(b.client.outbox.map((o) => o.status)).toEqual(['failed', 'failed', 'sending'])
  })

  test('one id is one message', async () => {
    const b = await live()
    expect(say(b, 1, { id: 'mine' })).toEqual(say(b, 1, { id: 'mine' }))
    expect(numbers(b.socket())).toEqual([1])
  })

  test('what the server never answers is sent now or fails', async () => {
    const b = await live()
    expect(b.client.send({ type: 'typing_started', payload: {} }).status).toBe('sent')
    b.socket().cut()
    expect(b.client.send({ type: 'typing_stopped' })).toMatchObject({ status: 'failed', error: { code: 'NOT_CONNECTED' } })
    expect(b.client.outbox).toEqual([])
  })

  test('survives close()', async () => {
    const b = await live()
    say(b, 1)
    b.client.close()
    b.client.connect()
    await settle()
    b.socket().welcome({ held: true })
    b.socket().restored({})
    expect(numbers(b.socket())).toEqual([1])
  })
})

describe('request()', () => {
  const answer = (s: FakeSocket, type: string, by: string, payload = {}) => s.say({ type, message_id: s.last(by)!.message_id, payload })

  test('is one verb and one answer', async () => {
    const b = await live()
    const joined = b.client.request('join_room', { room: 'r1' })
    answer(b.socket(), 'join_room', 'join_room', {}) // the verb itself, from whoever
    answer(b.socket(), 'room_joined', 'join_room', { room: 'r1', members: ['alice'], position: 'e3:4' })
    expect((await joined).position).toBe('e3:4')
    expect(b.of('message').map((m) => m.type as string)).toEqual(['join_room'])
  })

  test('waits for a connection, and asks again on the next', async () => {
    const b = bench()
    const stopped = b.client.stop({ runId: 'R' }, 'enough')
    b.client.connect()
    await settle()
    b.socket().welcome()
    expect(b.socket().last('stop_agent')!.payload).toEqual({ run_id: 'R', reason: 'enough' })
    const id = b.socket().last('stop_agent')!.message_id
    const s = await comeBack(b)
    s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
    expect(s.last('stop_agent')!.message_id).toBe(id)
    answer(s, 'ack', 'stop_agent', { message_id: id, status: 'already_ended', runs: [{ run_id: 'R', position: 'e1:9' }] })
    expect(await stopped).toEqual({ status: 'already_ended', runs: [{ run_id: 'R', position: 'e1:9' }] })
  })

  test('ends by time, by signal, and by a refusal', async () => {
    const b = await live()
    const late = b.client.request('history', { topic: 'all' })
    const rejected = expect(late).rejects.toMatchObject({ code: 'TIMEOUT' })
    await settle(30_000)
    await rejected
    const stop = new AbortController()
    const aborted = expect(b.client.request('history', { topic: 'all' }, { signal: stop.signal })).rejects.toMatchObject({ code: 'ABORTED' })
    stop.abort()
    await aborted
    const refused = b.client.request('steer', { run_id: 'R', text: 'left' })
    refuse(b.socket(), 'RATE_LIMITED', { retry_after_ms: 700 }, 'steer')
    await expect(refused).rejects.toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 700 })
    await expect(b.client.request('history', { topic: 'all' }, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
  })

  test('answers of the application’s own types come as acks', async () => {
    const b = await live()
    const asked = b.client.request('read_passage', { file: 'a.md' })
    const id = b.socket().last('read_passage')!.message_id
    answer(b.socket(), 'ack', 'read_passage', { message_id: id, status: 'ok', result: { lines: [] } })
    expect((await asked).result).toEqual({ lines: [] })
  })

  test('ends when the client is refused for good', async () => {
    const b = await live()
    const asked = expect(b.client.stop({ all: true })).rejects.toMatchObject({ code: 'CLOSED' })
    b.socket().end(4003, 'replaced')
    await asked
  })

  test('follows what the server confirms', async () => {
    const b = await live()
    const go = async (verb: string, payload: object, type: string, by: object) => {
      const p = b.client.request(verb, payload)
      answer(b.socket(), type, verb, by)
      await settle()
      await p
    }
    await go('subscribe', { rooms: ['r1'], threads: ['t1', 't2'], since: { 'room/r1': 'e4:2' } }, 'subscribed', { topics: { 'room/r1': 'e4:9' } })
    await go('subscribe', { rooms: ['r2'] }, 'subscribed', { topics: { 'room/r2': 'e5:1' } })
    await go('unsubscribe', { rooms: ['r2'], threads: ['t2'] }, 'unsubscribed', { topics: { 'room/r2': 'e5:1' } })
    await go('switch_thread', { thread_id: 't3' }, 'thread_snapshot', { messages: [], runs: [], position: 'e1:0', has_more: false })
    b.socket().say({ type: 'room_left', payload: { room: 'r3', reason: 'removed' } })
    const s = await comeBack(b)
    expect(s.url.searchParams.getAll('thread')).toEqual(['t3'])
    expect(s.last('session_restore')!.payload.positions).toEqual({ 'user/alice': 'e1:0', all: 'e1:0', 'room/r1': 'e4:2' })
    expect(b.of('message')).toMatchObject([{ type: 'room_left', payload: { reason: 'removed' } }])
  })
})
