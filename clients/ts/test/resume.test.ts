import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { chunk, comeBack, complete, live, message, settle } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const running = (id: string, lengths: Record<string, number>, thread?: string) => ({
  run_id: id,
  agent_name: 'writer',
  state: 'running',
  stream_lengths: lengths,
  thread_id: thread,
})

test('a held welcome is answered at once, with all positions, the lengths of open texts and the former connection', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:40', all: 'e1:7' } })
  b.socket().say(message(41), chunk('R/answer', 0, 'Grüße'), chunk('R/answer', 5, '! 🙂'), chunk('Q/answer', 0, 'over'))
  b.socket().say(complete(42, 'Q/answer', 4, 'over'), { type: 'room_joined', payload: { room: 'r1', members: [], position: 'e9:3' } })
  const s = await comeBack(b, { topics: { 'user/alice': 'e1:57', all: 'e1:7' } })
  expect(s.last('session_restore')!.payload).toEqual({
    positions: { 'user/alice': 'e1:42', all: 'e1:7', 'room/r1': 'e9:3' },
    streams: { 'R/answer': 8 },
    replace: 'c1',
  })
  expect(b.client.state.status).toBe('restoring')
})

test('another session’s connection is not replaced', async () => {
  const b = await live()
  const s = await comeBack(b, { session: { id: 's2', token: 'swt_2' } })
  expect(s.last('session_restore')!.payload.replace).toBeUndefined()
})

test('positions come only from the server’s words about a topic', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:40' } })
  b.socket().say({ type: 'history_result', payload: { messages: [], head: 'x:99', has_more: false } })
  b.socket().say(message(1, { topic: 'room/unknown' }))
  b.socket().say({ type: 'subscribed', payload: { topics: { 'room/r1': 'e2:5' } } })
  b.socket().say({ type: 'subscribed', payload: { topics: { 'room/r1': 'e2:9' } } })
  b.socket().say({ type: 'gap', payload: { topic: 'all', from: 'e1:0', to: 'e1:4', reason: 'expired', count: 4 } })
  b.socket().say({ type: 'gap', payload: { topic: 'all', from: 'e1:9', to: 'e1:9', reason: 'volatile', count: 7 } })
  const asked = (await comeBack(b)).last('session_restore')!.payload
  expect(asked.positions).toEqual({ 'user/alice': 'e1:40', 'room/r1': 'e2:5', all: 'e1:4' })
})

test('a message is told once, by its topic, epoch and offset', async () => {
  const b = await live()
  b.socket().say(message(1), message(1), message(3), message(2), message(3, { topic: 'all' }), message(4))
  b.socket().say({ type: 'gap', payload: { topic: 'user/alice', from: 'e1:4', to: 'e2:0', reason: 'epoch_changed' } })
  b.socket().say(message(1), message(1))
  expect(b.of('message').map((m) => [m.position, m.why])).toEqual([
    ['e1:1', 'live'],
    ['e1:3', 'live'],
    ['e1:3', 'live'],
    ['e1:4', 'live'],
    ['e2:1', 'live'],
  ])
  expect(b.frames.filter((f) => f.direction === 'in').map((f) => f.why)).toEqual(
    'control live duplicate live duplicate live live control live duplicate'.split(' '),
  )
  expect(b.of('gap')).toEqual([{ topic: 'user/alice', from: 'e1:4', to: 'e2:0', reason: 'epoch_changed' }])
})

test('a gap leads back from a place that the topic never reached, and nothing counts as lost', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:500' } })
  b.socket().say(message(10))
  b.socket().say({ type: 'gap', payload: { topic: 'user/alice', from: 'e1:3', to: 'e1:9', reason: 'expired' } }, message(10))
  b.socket().say({ type: 'gap', payload: { topic: 'user/alice', from: 'e1:500', to: 'e1:9', reason: 'expired' } }, message(10), message(10))
  expect(b.of('message').map((m) => m.position)).toEqual(['e1:10'])
})

test('messages that are not kept are told too, and answers to nobody are not', async () => {
  const b = await live()
  b.socket().say(
    { type: 'agent_typing', topic: 'room/r1', payload: { is_typing: true } },
    { type: 'hello', message_id: 'h', payload: {} },
    { type: 'pong', message_id: 'x' },
    { type: 'ack', message_id: 'y', payload: { message_id: 'y', status: 'ok' } },
    { type: 'error_message', error_code: 'INTERNAL', error_message: 'oh', message_id: 'z' },
  )
  expect(b.of('message').map((m) => m.type)).toEqual(['agent_typing', 'hello'])
  expect(b.of('error')).toMatchObject([{ code: 'INTERNAL', message: 'oh' }])
})

test('what comes while the restore is not answered does not count, for it comes again', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:1' } })
  b.socket().say(chunk('R/answer', 0, 'abc'))
  const s = await comeBack(b)
  // The hold of two seconds has passed: the server went on from its welcome.
  s.say(message(9), chunk('R/answer', 10, 'xyz'), chunk('S/other', 0, 'new'))
  expect(b.of('message')).toEqual([])
  s.restored({ 'user/alice': 'e1:9', all: 'e1:0' }, [running('R', { 'R/answer': 13 })])
  s.say(message(2), chunk('R/answer', 3, '3456789xyz'), message(9), message(10))
  expect(b.of('message').map((m) => [m.position, m.why])).toEqual([
    ['e1:2', 'replay'],
    ['e1:9', 'replay'],
    ['e1:10', 'live'],
  ])
  expect(b.client.text('R/answer')).toMatchObject({ text: 'abc3456789xyz', length: 13, missing: false })
  expect(b.client.text('S/other')).toMatchObject({ text: 'new' })
})

test('recovered tells what came, and live begins there', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:1', all: 'e1:0' } })
  b.socket().say(chunk('R/answer', 0, 'one'))
  await settle(10_000)
  const s = await comeBack(b)
  await settle(7)
  s.restored({ 'user/alice': 'e1:3', all: 'e1:0' }, [running('R', { 'R/answer': 9 })])
  s.say(message(2), chunk('R/answer', 2, 'e two'))
  expect(b.client.state.status).toBe('restoring')
  s.say(message(3), chunk('R/answer', 7, '🙂🙂'))
  expect(b.client.state.status).toBe('live')
  s.say(chunk('R/answer', 9, '!'), message(4))
  expect(b.of('recovered')).toEqual([
    {
      topics: 2,
      messages: 2,
      characters: 6,
      frames: 4,
      lost: 0,
      lostUnknown: false,
      ms: 7,
      downMs: 300,
      streams: [{ streamId: 'R/answer', from: 3, to: 9 }],
      reopened: false,
    },
  ])
  expect(b.of('text').map((t) => [t.start, t.added, t.why])).toEqual([
    [0, 'one', 'live'],
    [3, ' two', 'replay'],
    [7, '🙂🙂', 'replay'],
    [9, '!', 'live'],
  ])
})

test('text of a run that ended meanwhile is counted too', async () => {
  const b = await live({}, { topics: { 'user/alice': 'e1:1', all: 'e1:0' } })
  b.socket().say(chunk('R/answer', 0, 'one'))
  const s = await comeBack(b)
  s.restored({ 'user/alice': 'e1:3', all: 'e1:0' }) // no run goes on
  s.say(chunk('R/answer', 3, ' two'))
  expect(b.client.state.status).toBe('restoring')
  s.say(complete(2, 'R/answer', 7, 'one two'), message(3), chunk('S/answer', 0, 'after it'))
  expect(b.of('recovered')).toMatchObject([{ messages: 2, characters: 4, frames: 3, streams: [{ streamId: 'R/answer', from: 3, to: 7 }] }])
  expect(b.of('text').map((t) => t.why)).toEqual(['live', 'replay', 'live'])
})

test('a resume that is cut is gone on with, and told once with all that came', async () => {
  const b = await live()
  let s = await comeBack(b)
  s.restored({ 'user/alice': 'e1:3', all: 'e1:0' })
  s.say(message(1))
  s = await comeBack(b)
  expect(s.last('session_restore')!.payload.positions['user/alice']).toBe('e1:1')
  s.restored({ 'user/alice': 'e1:3', all: 'e1:0' })
  s.say(message(2), message(3))
  expect(b.of('recovered')).toMatchObject([{ messages: 3, frames: 3, lost: 0 }])
})

test('a head that is never sent, as those of memberships, holds nothing up for long', async () => {
  const b = await live({}, { topics: { 'room/r1': 'e1:5' } })
  const s = await comeBack(b)
  s.restored({ 'room/r1': 'e1:7' })
  s.say(message(6, { topic: 'room/r1' }))
  await settle(999)
  expect(s.last('ping')).toBeUndefined()
  await settle(1)
  const pong = () => s.say({ type: 'pong', message_id: s.last('ping')!.message_id })
  s.say(message(7, { topic: 'room/r1', offset: 6.5 })) // the connection is slow
  pong()
  expect(b.client.state.status).toBe('restoring')
  await settle(1000)
  pong()
  expect(b.client.state.status).toBe('live')
  expect(b.of('recovered')).toMatchObject([{ messages: 2, lost: 0 }])
})

test('text of threads that nobody watches is not waited for', async () => {
  const b = await live()
  const opened = b.client.openThread({ threadId: 't1' })
  const id = b.socket().last('thread_open')!.message_id
  b.socket().say({ type: 'thread_snapshot', topic: 'user/alice', thread_id: 't1', message_id: id, payload: snapshot('e1:0') })
  await settle()
  await opened
  const s = await comeBack(b)
  expect(s.url.searchParams.getAll('thread')).toEqual(['t1'])
  s.restored({ 'user/alice': 'e1:0', all: 'e1:0' }, [running('R', { 'R/answer': 9 }, 't2')])
  expect(b.client.state.status).toBe('live')
})

test('a restore that is refused ends the connection, and the next one tries again', async () => {
  const b = await live()
  const s = await comeBack(b)
  s.say({
    type: 'error_message',
    error_code: 'UNAVAILABLE',
    error_message: 'later',
    details: { retry_after_ms: 3000 },
    message_id: s.last('session_restore')!.message_id,
  })
  expect(b.client.state).toMatchObject({ status: 'waiting', reason: 'later', code: 'UNAVAILABLE' })
  expect(s.closed).toBeDefined()
  await settle(10_000)
  expect(b.sockets).toHaveLength(3)
})

test('a restore names as many texts as fit into a message', async () => {
  const config = { heartbeat_interval: 25, max_message_size: 4096 }
  const b = await live({}, { config })
  for (let i = 0; i < 1100; i++) b.socket().say(chunk(`R${i}/answer`, 0, 'x'))
  const s = await comeBack(b, { config })
  const frame = JSON.stringify(s.last('session_restore'))
  expect(frame.length).toBeLessThan(4096)
  const named = Object.keys(s.last('session_restore')!.payload.streams)
  expect(named.length).toBeGreaterThan(60)
  expect(named).toContain('R1099/answer') // what changed last
  // Text of others comes from its beginning; the client cuts off what it has.
  s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
  s.say(chunk('R900/answer', 0, 'xy'))
  expect(b.client.text('R900/answer')).toMatchObject({ text: 'xy', length: 2 })
})

function snapshot(position: string, messages: unknown[] = [], runs: unknown[] = []) {
  return { messages, runs, position, has_more: false }
}

describe('a thread that is open', () => {
  async function opened() {
    const b = await live()
    const promise = b.client.openThread({ threadId: 't1', limit: 20 })
    const s = b.socket()
    s.say({
      type: 'thread_snapshot',
      topic: 'user/alice',
      thread_id: 't1',
      message_id: s.last('thread_open')!.message_id,
      payload: snapshot('e1:0'),
    })
    await settle()
    await promise
    return b
  }
  const answer = (s: Awaited<ReturnType<typeof comeBack>>, position: string, messages: unknown[]) =>
    s.say({
      type: 'thread_snapshot',
      topic: 'user/alice',
      thread_id: 't1',
      message_id: s.last('thread_open')!.message_id,
      payload: snapshot(position, messages),
    })

  test('is opened again where messages have expired, and nothing is told twice', async () => {
    const b = await opened()
    const s = await comeBack(b)
    s.restored({ all: 'e1:0' }, [], { 'user/alice': { recovered: false, reason: 'expired', head: 'e1:60' } })
    s.say({ type: 'gap', payload: { topic: 'user/alice', from: 'e1:0', to: 'e1:58', reason: 'expired', count: 58 } })
    s.say(message(59), message(60))
    expect(s.last('thread_open')!.payload).toEqual({ thread_id: 't1', limit: 20 })
    expect(b.client.state.status).toBe('restoring')
    answer(s, 'e1:60', [message(59), message(60)])
    s.say(message(61))
    await settle()
    expect(b.client.state.status).toBe('live')
    expect(b.of('snapshot').map((x) => [x.position, x.reopened, x.messages.length])).toEqual([
      ['e1:0', false, 0],
      ['e1:60', true, 2],
    ])
    expect(b.told.filter((t) => t.event === 'message' || t.event === 'snapshot').map((t) => t.e.position)).toEqual([
      'e1:0',
      'e1:59',
      'e1:60',
      'e1:60', // the snapshot
      'e1:61',
    ])
    expect(b.of('recovered')).toMatchObject([{ lost: 58, lostUnknown: false, reopened: true, messages: 2 }])
  })

  test('is opened again after a restart that has lost the log, and that something was lost is said', async () => {
    const b = await opened()
    const s = await comeBack(b, { topics: { 'user/alice': 'e2:0', all: 'e1:0' } })
    s.restored({ all: 'e1:0' }, [], { 'user/alice': { recovered: false, reason: 'epoch_changed', head: 'e2:0' } })
    answer(s, 'e2:0', [])
    await settle()
    expect(b.client.state.status).toBe('live')
    expect(b.of('recovered')).toMatchObject([{ lost: 0, lostUnknown: true, reopened: true }])
    s.say({ type: 'gap', payload: { topic: 'user/alice', from: 'e1:0', to: 'e2:0', reason: 'epoch_changed' } }, message(1))
    expect(b.of('message').map((m) => m.position)).toEqual(['e2:1'])
  })

  test('that cannot be opened again yet is tried until it can, over connections', async () => {
    const b = await opened()
    let s = await comeBack(b)
    s.restored({ all: 'e1:0' }, [], { 'user/alice': { recovered: false, reason: 'expired', head: 'e1:0' } })
    const refuse = () =>
      s.say({ type: 'error_message', error_code: 'UNAVAILABLE', error_message: 'later', details: { retry_after_ms: 500 }, message_id: s.last('thread_open')!.message_id })
    refuse()
    await settle(500)
    expect(s.sent.filter((m) => m.type === 'thread_open')).toHaveLength(2)
    s = await comeBack(b)
    s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
    expect(s.sent.filter((m) => m.type === 'thread_open')).toHaveLength(1)
    answer(s, 'e1:0', [])
    await settle()
    expect(b.of('snapshot').filter((x) => x.reopened)).toHaveLength(1)
    expect(b.of('recovered')).toHaveLength(1)
  })

  test('is not opened again where all came', async () => {
    const b = await opened()
    const s = await comeBack(b)
    s.restored({ 'user/alice': 'e1:0', all: 'e1:0' })
    await settle(5000)
    expect(s.last('thread_open')).toBeUndefined()
  })

  test('of a room that may not be read any more is closed, and that is said', async () => {
    const b = await live()
    const promise = b.client.openThread({ threadId: '', room: 'r1' })
    b.socket().say({ type: 'thread_snapshot', topic: 'room/r1', message_id: b.socket().last('thread_open')!.message_id, payload: snapshot('e5:2') })
    await settle()
    expect((await promise).room).toBe('r1')
    let s = await comeBack(b)
    expect(s.last('session_restore')!.payload.positions['room/r1']).toBe('e5:2')
    s.restored({ 'user/alice': 'e1:0', all: 'e1:0' }, [], { 'room/r1': { recovered: false, reason: 'forbidden' } })
    await settle()
    expect(b.of('error')).toMatchObject([{ code: 'FORBIDDEN', details: { topic: 'room/r1' } }])
    expect(s.last('thread_open')).toBeUndefined()
    s = await comeBack(b)
    expect(s.last('session_restore')!.payload.positions['room/r1']).toBeUndefined()
  })
})

describe('openThread', () => {
  test('who awaits it goes on before what comes behind the snapshot, however the socket delivers', async () => {
    const b = await live()
    const seen: string[] = []
    b.client.on('message', (m) => seen.push(m.position!))
    const layers = async () => await (async () => await (async () => b.client.openThread({ threadId: '' }))())()
    const done = layers().then((s) => seen.push(`snapshot ${s.position}`))
    const s = b.socket()
    s.say(message(1), message(2))
    s.say(
      {
        type: 'thread_snapshot',
        topic: 'user/alice',
        message_id: s.last('thread_open')!.message_id,
        payload: snapshot('e1:2', [message(1), message(2)]),
      },
      message(2), // what the snapshot has is not told behind it
      message(3),
      chunk('R/answer', 0, 'x'),
    )
    s.cut()
    await settle()
    await done
    expect(seen).toEqual(['e1:1', 'e1:2', 'snapshot e1:2', 'e1:3'])
    expect(b.client.state.status).toBe('waiting')
    expect(b.client.text('R/answer')?.text).toBe('x')
  })

  test('texts go on behind those of the snapshot, which has what the client has', async () => {
    const b = await live()
    const s = b.socket()
    s.say(chunk('R/answer', 0, 'abcdef'))
    const promise = b.client.openThread({ threadId: '' })
    const run = (streams: unknown[]) => ({ run_id: 'R', agent_name: 'a', state: 'running', started_at: 1, tools: [], approvals: [], streams })
    const streams = [
      { stream_id: 'R/answer', state: 'open', text: 'abcd' },
      { stream_id: 'R/notes', state: 'open', text: 'nö🙂' },
      { stream_id: 'R/title', state: 'complete', text: 'T' },
    ]
    s.say({
      type: 'thread_snapshot',
      topic: 'user/alice',
      message_id: s.last('thread_open')!.message_id,
      payload: snapshot('e1:0', [], [run(streams)]),
    })
    s.say(chunk('R/answer', 4, 'efgh'), chunk('R/notes', 2, '🙂!'))
    await settle()
    expect((await promise).runs[0]!.streams.map((x) => x.text)).toEqual(['abcdef', 'nö🙂', 'T'])
    expect(b.of('text').slice(1).map((t) => [t.start, t.added, t.text])).toEqual([
      [6, 'gh', 'abcdefgh'],
      [3, '!', 'nö🙂!'],
    ])
    expect(b.client.text('R/title')).toEqual({ text: 'T', length: 1, state: 'complete', missing: false })
  })

  test.each([
    ['nothing', []],
    ['less', [chunk('R/answer', 0, 'a')]],
    ['more', [chunk('R/answer', 0, 'abcd')]],
    ['all', [chunk('R/answer', 0, 'abcdé🙂')]],
    ['a hole', [chunk('R/answer', 0, 'a'), chunk('R/answer', 4, 'é🙂')]],
    ['all, and its end', [chunk('R/answer', 0, 'abcdé🙂'), complete(1, 'R/answer', 6)]],
  ])('what the snapshot has no room for comes behind it, also of a text that had ended: the client has %s', async (_, had) => {
    for (const state of ['open', 'complete']) {
      const b = await live()
      const s = b.socket()
      const ended = had.length > 0 && had.at(-1)!.type === 'stream_complete'
      if (ended && state === 'open') continue
      s.say(...had)
      await settle()
      const promise = b.client.openThread({ threadId: '' })
      const run = { run_id: 'R', agent_name: 'a', state: 'running', started_at: 1, tools: [], approvals: [] }
      s.say({
        type: 'thread_snapshot',
        topic: 'user/alice',
        message_id: s.last('thread_open')!.message_id,
        payload: snapshot('e1:1', [], [{ ...run, streams: [{ stream_id: 'R/answer', state, text: 'abc', length: 6 }] }]),
      })
      await settle()
      const [stream] = (await promise).runs[0]!.streams
      expect(stream!.length).toBe(stream!.text === 'abcdé🙂' ? undefined : 6)
      expect('abcdé🙂'.startsWith(stream!.text) && stream!.text.length >= 3).toBe(true)
      let text = stream!.text
      const told = b.of('text').length
      s.say(chunk('R/answer', 3, 'dé'), chunk('R/answer', 5, '🙂'))
      await settle()
      for (const t of b.of('text').slice(told)) {
        expect(t.start).toBe([...text].length)
        text += t.added
      }
      expect(text).toBe('abcdé🙂')
      expect(b.client.text('R/answer')).toEqual({ text, length: 6, state, missing: false })
      b.client.close()
    }
  })

  test('an older page changes nothing', async () => {
    const b = await live()
    const promise = b.client.openThread({ threadId: 't1', before: 'e1:9' })
    const s = b.socket()
    s.say({
      type: 'thread_snapshot',
      topic: 'room/elsewhere',
      message_id: s.last('thread_open')!.message_id,
      payload: { ...snapshot('e7:8', [message(3)]), has_more: true },
    })
    await settle()
    expect(await promise).toMatchObject({ hasMore: true, messages: [{ position: 'e7:3', why: 'snapshot' }] })
    expect(b.of('snapshot')).toEqual([])
    const next = await comeBack(b)
    expect(next.last('session_restore')!.payload.positions).not.toHaveProperty('room/elsewhere')
    expect(next.url.searchParams.getAll('thread')).toEqual([])
  })

  test('rejects with the server’s refusal', async () => {
    const b = await live()
    const promise = b.client.openThread({ threadId: '', room: 'secret' })
    const id = b.socket().last('thread_open')!.message_id
    b.socket().say({ type: 'error_message', error_code: 'FORBIDDEN', error_message: 'no', message_id: id, details: { field: 'room' } })
    await expect(promise).rejects.toMatchObject({ name: 'SwitchboardError', code: 'FORBIDDEN', details: { field: 'room' } })
    expect(b.of('error')).toEqual([])
  })
})

test('frames know their bytes, and what a listener throws disturbs nothing', async () => {
  const thrown: unknown[] = []
  const catcher = (e: unknown) => void thrown.push(e)
  const b = await live()
  b.client.on('message', () => {
    throw new Error('mine')
  })
  const off = b.client.on('message', () => thrown.push('called'))
  process.on('uncaughtException', catcher)
  vi.useRealTimers()
  b.socket().say(message(1, { payload: { text: 'ü🙂' } }))
  off()
  b.socket().say(message(2))
  await new Promise((r) => setImmediate(r))
  process.off('uncaughtException', catcher)
  expect(thrown).toMatchObject(['called', { message: 'mine' }, { message: 'mine' }])
  const frame = b.frames.find((f) => f.envelope.offset === 1)!
  expect(frame.bytes).toBe(Buffer.byteLength(frame.raw))
  expect(b.of('message')).toHaveLength(2)
})
