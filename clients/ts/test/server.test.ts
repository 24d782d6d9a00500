import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Device, Server, until } from './server.js'

let server: Server
const devices: Device[] = []

beforeAll(async () => void (server = await Server.start()), 120_000)
afterAll(() => server.stop())
afterEach(() => {
  for (const d of devices.splice(0)) d.client.close()
})

function device(user: string, options = {}): Device {
  const d = new Device(server, user, options)
  devices.push(d)
  return d
}

const ended = ['agent_completed', 'agent_error', 'agent_cancelled', 'agent_death']

test('a question is answered in steps, and the text is what the server has', async () => {
  const d = device('ada')
  await d.live()
  await d.client.openThread({ threadId: '' })
  const { id } = d.client.send({ type: 'user_message', payload: { content: 'What happens to a client that is slow?' } })
  await until('the answer', () => d.of('message').some((m) => ended.includes(m.type)))
  await until('the ack', () => d.of('outbox').some((o) => o.id === id && o.status === 'sent'))
  const run = d.of('outbox').find((o) => o.status === 'sent')!.runId!
  const types = d.types(run)
  expect(types[0]).toBe('agent_started')
  expect(types).toContain('tool_completed')
  expect(types.at(-1)).toBe('agent_completed')
  const told = await server.api('GET', `/runs/${run}/streams/answer`)
  expect(told.length).toBeGreaterThan(0)
  expect(d.client.text(`${run}/answer`)).toEqual({ text: told.text, length: told.length, state: 'complete', missing: false })
  expect(d.of('text').map((t) => t.added).join('')).toBe(told.text)
  // Who opens the thread later has the same conversation, at the same places.
  const other = device('ada')
  other.client.connect()
  const snapshot = await other.client.openThread({ threadId: '' })
  expect(snapshot.messages.map((m) => m.position)).toEqual(d.of('message').map((m) => m.position))
})

test('a text that is cut again and again is identical, and told without a seam', async () => {
  const d = device('bob')
  await d.live()
  const run = 'cut-' + Date.now()
  await server.api('POST', '/runs', { to: { user: 'bob' }, agent_name: 'writer', run_id: run })
  const piece = 'zehn 🙂👩‍👧é!'
  const per = [...piece].length
  let written = 0
  let seen = 0
  const write = async (to: number) => {
    let body = ''
    const start = written
    for (; written < to; written += per) body += piece
    await server.api('POST', `/runs/${run}/streams/answer?start=${start}`, body)
  }
  while (written < 10_000) {
    await write(written + 97)
    if (written < seen + 1000) continue
    // Text has come since the last cut, and the cut finds more of it on its way.
    await until('text to come', () => (d.client.text(`${run}/answer`)?.length ?? 0) > seen)
    await write(written + 97)
    d.cut()
    seen = written
  }
  expect(d.of('state').filter((s) => s.status === 'waiting').length).toBeGreaterThan(6)
  await server.api('POST', `/runs/${run}/complete`, { result: {} })
  await until('the end', () => d.types(run).at(-1) === 'agent_completed')
  const told = await server.api('GET', `/runs/${run}/streams/answer`)
  expect(told.length).toBe(written)
  expect(d.client.text(`${run}/answer`)).toEqual({ text: told.text, length: written, state: 'complete', missing: false })
  let joined = ''
  for (const t of d.of('text')) {
    expect(t.start).toBe([...joined].length)
    joined += t.added
  }
  expect(joined).toBe(told.text)
  expect(d.types(run)).toEqual(['agent_started', 'stream_open', 'stream_complete', 'agent_completed'])
  await until('the last resume', () => d.client.state.status === 'live')
  for (const r of d.of('recovered')) expect(r).toMatchObject({ lost: 0, lostUnknown: false, reopened: false })
  const replayed = d.frames.filter((f) => f.why === 'replay').length
  expect(d.of('recovered').reduce((n, r) => n + r.frames, 0)).toBe(replayed)
})

test('messages that are published while a client is cut come once, in order', async () => {
  const d = device('cyd')
  await d.live()
  for (let i = 0; i < 60; i++) {
    await server.api('POST', '/publish', { to: { user: 'cyd' }, type: 'tick', payload: { i } })
    if (i % 7 === 3) d.cut()
  }
  await until('the last one', () => d.of('message').length >= 60)
  expect(d.of('message').map((m) => (m.payload as { i: number }).i)).toEqual(Array.from({ length: 60 }, (_, i) => i))
  expect(d.of('gap')).toEqual([])
})

test('what is sent while the network comes and goes arrives once and in order', async () => {
  const d = device('dan')
  const sent = Array.from({ length: 20 }, (_, i) => d.client.send({ type: 'chat', threadId: 'x', payload: { i } }).id)
  d.client.on('outbox', (o) => o.status === 'sent' && sent.indexOf(o.id) % 4 === 1 && d.cut())
  d.client.connect()
  await until('all acks', () => d.client.outbox.length === 0)
  await until('all messages', () => d.of('message').filter((m) => m.type === 'chat').length >= 20)
  expect(d.of('message').filter((m) => m.type === 'chat').map((m) => m.message_id)).toEqual(sent)
})

test('a run is stopped from another client, and its text stays', async () => {
  const [laptop, phone] = [device('eve'), device('eve')]
  await Promise.all([laptop.live(), phone.live()])
  const run = 'stop-' + Date.now()
  await server.api('POST', '/runs', { to: { user: 'eve' }, agent_name: 'writer', run_id: run, thread_id: 't1' })
  await server.api('POST', `/runs/${run}/streams/answer`, 'as far as it got')
  await until('the text', () => phone.client.text(`${run}/answer`)?.length === 16)
  const stopped = await phone.client.stop({ threadId: 't1' }, 'enough')
  expect(stopped).toMatchObject({ status: 'ok', runs: [{ run_id: run, stream_lengths: { [`${run}/answer`]: 16 } }] })
  await until('the end', () => laptop.types(run).at(-1) === 'agent_cancelled')
  const last = laptop.of('message').at(-1)!
  expect(last.type === 'agent_cancelled' && last.payload).toMatchObject({ reason: 'enough', by_user: 'eve' })
  expect(last.position).toBe(stopped.runs[0]!.position)
  expect(laptop.client.text(`${run}/answer`)).toEqual({ text: 'as far as it got', length: 16, state: 'cancelled', missing: false })
  expect(await phone.client.stop({ runId: run })).toMatchObject({ status: 'already_ended' })
})

test('two clients with the same stored session live beside each other', async () => {
  const first = new Map<string, string>()
  const store = (items: Map<string, string>) => ({
    getItem: (k: string) => items.get(k) ?? null,
    setItem: (k: string, v: string) => void items.set(k, v),
    removeItem: (k: string) => void items.delete(k),
  })
  const one = device('fay', { storage: store(first) })
  await one.live()
  const two = device('fay', { storage: store(new Map(first)) }) // as a duplicated tab
  await two.live()
  await server.api('POST', '/publish', { to: { user: 'fay' }, type: 'tick' })
  await until('both', () => one.of('message').length === 1 && two.of('message').length === 1)
  two.cut()
  await until('the second to be back', () => two.of('recovered').length === 1)
  await server.api('POST', '/publish', { to: { user: 'fay' }, type: 'tick' })
  await until('both', () => one.of('message').length === 2 && two.of('message').length === 2)
  expect([one.client.state.status, two.client.state.status]).toEqual(['live', 'live'])
})

test('a token that does not hold closes the client, with AUTH_ERROR', async () => {
  const d = device('gil', { token: 'no.such.token' })
  d.client.connect()
  await until('the refusal', () => d.client.state.status === 'closed')
  expect(d.client.state).toMatchObject({ code: 'AUTH_ERROR', closeCode: 1008 })
})

test('a stored session that has never been falls back to what else there is', async () => {
  const d = device('hal', { storage: { getItem: () => 'swt_forged', setItem() {}, removeItem() {} } })
  await d.live()
  expect(d.client.user).toBe('hal')
})

test('a ticket is a credential for another device, once', async () => {
  const d = device('ivy')
  await d.live()
  const ticket = await d.client.mintTicket(30)
  const phone = device('nobody', { ticket, url: server.url + '/ws' })
  await phone.live()
  expect(phone.client.user).toBe('ivy')
  const again = device('nobody', { ticket, url: server.url + '/ws' })
  again.client.connect()
  await until('the refusal', () => again.client.state.status === 'closed')
  expect(again.client.state).toMatchObject({ code: 'AUTH_ERROR' })
})

test('a room is joined, spoken in, opened as a thread, and followed over a cut', async () => {
  const [a, b] = [device('jan'), device('kim')]
  await Promise.all([a.live(), b.live()])
  const room = 'r' + Date.now()
  expect((await a.client.request('join_room', { room })).members).toContain('jan')
  await b.client.request('join_room', { room })
  await a.client.request('room_message', { room, n: 1 })
  await until('the message', () => b.of('message').some((m) => m.type === 'room_message'))
  const snapshot = await b.client.openThread({ threadId: '', room })
  expect(snapshot).toMatchObject({ topic: `room/${room}`, room })
  b.cut()
  await a.client.request('room_message', { room, n: 2 })
  await until('the other one', () => b.of('message').filter((m) => m.type === 'room_message').length === 2)
  await expect(a.client.request('no_such_room', {})).resolves.toMatchObject({ status: 'unhandled' })
  await expect(a.client.request('steer', { run_id: 'x', text: 'y' })).rejects.toMatchObject({ code: 'UNSUPPORTED' })
})

test('an opened thread with a live run goes on behind its text', async () => {
  const run = 'open-' + Date.now()
  await server.api('POST', '/runs', { to: { user: 'lea' }, agent_name: 'writer', run_id: run, thread_id: 't1' })
  await server.api('POST', `/runs/${run}/streams/answer`, 'so far 🙂')
  const d = device('lea')
  d.client.connect()
  const snapshot = await d.client.openThread({ threadId: 't1' })
  expect(snapshot.runs.map((r) => r.streams[0]!.text)).toEqual(['so far 🙂'])
  await server.api('POST', `/runs/${run}/streams/answer`, ', and on')
  await until('the rest', () => d.client.text(`${run}/answer`)?.length === 16)
  // Some of it may have come before the snapshot; behind it only what it does not have.
  const behind = d.told.slice(d.told.findIndex((t) => t.event === 'snapshot')).filter((t) => t.event === 'text')
  expect(behind.map((t) => t.e.added).join('')).toBe(', and on')
  expect(d.of('message')).toEqual([])
})

test('others see who types in a room, until it ends, and other devices how far the user has read', async () => {
  const ada = device('typing-ada')
  const bob = device('typing-bob')
  const phone = device('typing-bob')
  for (const d of [ada, bob, phone]) {
    await d.live()
    await d.client.request('subscribe', { rooms: ['typing-room'] })
  }
  bob.client.typing({ room: 'typing-room', threadId: 't1' })
  const who = { userId: 'typing-bob', topic: 'room/typing-room', threadId: 't1' }
  for (const d of [ada, phone]) await until('the typing', () => d.of('typing').length === 1)
  bob.client.typing({ room: 'typing-room', threadId: 't1' }, false)
  for (const d of [ada, phone]) {
    await until('its end', () => d.of('typing').length === 2)
    expect(d.of('typing')).toEqual([
      { ...who, typing: true },
      { ...who, typing: false },
    ])
  }
  expect(bob.of('typing')).toEqual([])

  const { position } = await bob.client.request('room_message', { room: 'typing-room', text: 'read me' })
  expect(await bob.client.markRead({ room: 'typing-room', position: position! })).toBe(position)
  await until('the mark', () => phone.of('readMarker').length === 1)
  expect(phone.of('readMarker')).toEqual([{ room: 'typing-room', position }])
  expect(ada.of('readMarker')).toEqual([])
  phone.cut()
  await until('the mark again', () => phone.of('readMarker').length === 2)
})

test('the devices of a user see each other, what is done there, and who comes back and goes', async () => {
  const laptop = device('present', { device: 'laptop' })
  const phone = device('present', { device: 'phone' })
  await laptop.live()
  laptop.client.presence('active')
  await phone.live()
  phone.client.presence('idle', { in: 'kitchen' })
  const sees = (d: Device) => d.of('presence').at(-1)?.users.flatMap((u) => u.devices.map((one) => `${one.name} ${one.state}`)).sort().join(', ')
  for (const d of [laptop, phone]) await until('both', () => sees(d) === 'laptop active, phone idle')
  expect(laptop.of('presence').at(-1)).toMatchObject({ topic: 'user/present', count: 1 })
  expect(laptop.of('presence').at(-1)!.users[0]!.devices.find((d) => d.session_id === phone.client.sessionId)).toMatchObject({ name: 'phone', meta: { in: 'kitchen' } })

  const before = phone.of('presence').length
  phone.cut()
  await until('the phone, idle again', () => phone.of('presence').length > before && sees(phone) === 'laptop active, phone idle')
  await until('the laptop to see that', () => sees(laptop) === 'laptop active, phone idle')
  phone.client.close()
  await until('the end of the phone', () => sees(laptop) === 'laptop active')
  for (const d of [laptop, phone]) expect(d.of('message')).toEqual([])
})
