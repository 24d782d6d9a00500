import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Switchboard } from '../src/index.js'
import { bench, comeBack, live, settle } from './fake.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const statuses = (b: ReturnType<typeof bench>) => b.of('state').map((s) => s.status)

function storage(initial: Record<string, string> = {}) {
  const items = new Map(Object.entries(initial))
  return {
    items,
    getItem: (k: string) => items.get(k) ?? null,
    setItem: (k: string, v: string) => void items.set(k, v),
    removeItem: (k: string) => void items.delete(k),
  }
}

describe('the handshake', () => {
  test('keeps the query of the URL, names the device, and never puts the token into it', async () => {
    const b = bench({ url: 'https://test.example/app/ws?user=alice&link=l#top', device: 'laptop', token: 'jwt' })
    b.client.connect()
    await settle()
    expect(b.socket().url.href).toBe('wss://test.example/app/ws?user=alice&link=l&device=laptop')
    expect(b.socket().token).toBe('jwt')
    expect(b.socket().protocols[0]).toBe('switchboard.v1')
  })

  test('without a URL that a socket can take there is no client', () => {
    expect(() => new Switchboard({ url: 'ftp://test.example' })).toThrow(TypeError)
    expect(() => new Switchboard()).toThrow(TypeError)
  })

  test('a ticket that is a string is used once', async () => {
    const b = await live({ ticket: 'tk_1' })
    expect(b.socket().url.searchParams.get('ticket')).toBe('tk_1')
    const s = await comeBack(b)
    expect(s.url.searchParams.has('ticket')).toBe(false)
    expect(s.session).toBe('swt_1')
    s.end(4001)
    await settle(2000)
    expect(b.sockets).toHaveLength(3)
    expect(b.socket().url.searchParams.has('ticket')).toBe(false)
  })

  test('the session token is stored, used after a reload, and refreshed by each welcome and auth_ok', async () => {
    const store = storage()
    const b = await live({ storage: store })
    expect(store.items.get('switchboard.session')).toBe('swt_1')
    b.socket().say({ type: 'auth_ok', payload: { permissions: [], session: { id: 's1', token: 'swt_ok' } } })
    expect(store.items.get('switchboard.session')).toBe('swt_ok')
    const after = bench({ storage: store })
    after.client.connect()
    await settle()
    expect(after.socket().session).toBe('swt_ok')
    after.socket().welcome({ held: true, connection_id: 'c2' })
    // A duplicated tab copies the storage: it must not close the tab that it was made of.
    expect(after.socket().last('session_restore')!.payload.replace).toBeUndefined()
    after.socket().restored({})
    expect(after.client.state.status).toBe('live')
    expect(after.of('recovered')).toEqual([])
  })

  test('a storage that throws is as good as none', async () => {
    const broken = () => {
      throw new Error('denied')
    }
    const b = await live({ storage: { getItem: broken, setItem: broken, removeItem: broken } })
    expect(b.client.state.status).toBe('live')
  })

  test('a stored session token that does not hold falls back to the credential, once', async () => {
    const store = storage({ 'switchboard.session': 'swt_old' })
    const b = bench({ storage: store, token: 'jwt' })
    b.client.connect()
    await settle()
    expect(b.socket().session).toBe('swt_old')
    b.socket().refuse('AUTH_ERROR', 1008)
    await settle()
    expect(b.sockets).toHaveLength(2)
    expect(b.socket().token).toBe('jwt')
    expect(store.items.size).toBe(0)
    b.socket().refuse('AUTH_ERROR', 1008)
    await settle(60_000)
    expect(b.sockets).toHaveLength(2)
    expect(b.client.state).toEqual({ status: 'closed', reason: 'refused: AUTH_ERROR', code: 'AUTH_ERROR', closeCode: 1008 })
  })

  test('a credential that cannot be had is tried again', async () => {
    let n = 0
    const b = bench({ token: () => (n++ === 0 ? Promise.reject(new Error('offline')) : 'jwt') })
    b.client.connect()
    await settle()
    expect(b.client.state).toMatchObject({ status: 'waiting', reason: 'no credential: offline' })
    await settle(1000)
    expect(b.socket().token).toBe('jwt')
  })

  test('an attempt ends after 15 s, whether the credential or the server is late', async () => {
    const b = bench()
    b.client.connect()
    await settle(14_999)
    expect(b.client.state.status).toBe('connecting')
    await settle(1)
    expect(b.client.state).toMatchObject({ status: 'waiting', reason: 'no connection in 15 s' })
    expect(b.socket().closed).toBeDefined()
    const late = bench({ token: () => new Promise(() => {}) })
    late.client.connect()
    await settle(15_000)
    expect(late.client.state).toMatchObject({ status: 'waiting', reason: 'no connection in 15 s' })
    expect(late.sockets).toHaveLength(0)
  })
})

describe('coming back', () => {
  test('waits a random time up to a limit that doubles to 15 s', async () => {
    const b = bench({ random: () => 1 })
    b.client.connect()
    const waits: number[] = []
    for (let i = 0; i < 7; i++) {
      await settle()
      b.socket().cut()
      const state = b.client.state
      if (state.status !== 'waiting') throw new Error(state.status)
      waits.push(state.retryAt - Date.now())
      expect(state.attempt).toBe(i + 2)
      await settle(waits.at(-1))
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000, 15_000])
    const soon = bench({ random: () => 0 })
    soon.client.connect()
    await settle()
    soon.socket().cut()
    await settle()
    expect(soon.sockets).toHaveLength(2)
  })

  test('begins to count anew when the client was live for ten seconds', async () => {
    const b = await live({ random: () => 1 })
    b.socket().cut()
    expect(b.client.state).toMatchObject({ status: 'waiting', attempt: 2, retryAt: Date.now() + 1000 })
    await settle(1000)
    b.socket().welcome()
    b.socket().restored({})
    await settle(10_000)
    b.socket().cut()
    expect(b.client.state).toMatchObject({ status: 'waiting', attempt: 1, retryAt: Date.now() + 500 })
  })

  test('is one attempt at a time, whoever asks for it', async () => {
    let ask = () => {}
    const b = bench({ token: () => new Promise<string>((r) => (ask = () => r('jwt'))) })
    b.client.connect()
    b.client.connect()
    ask()
    b.client.connect()
    await settle()
    b.client.connect()
    expect(b.sockets).toHaveLength(1)
    b.socket().cut()
    b.client.connect()
    b.client.connect()
    ask()
    await settle(60_000 - 45_001)
    expect(b.sockets).toHaveLength(2)
  })

  test.each(['RATE_LIMITED', 'UNAVAILABLE'])('waits as long as %s says, and a random time more', async (code) => {
    const b = bench()
    b.client.connect()
    await settle()
    b.socket().refuse(code, 1013, { retry_after_ms: 20_000 })
    expect(b.client.state).toMatchObject({ status: 'waiting', code, retryAt: Date.now() + 20_500 })
    await settle(20_499)
    expect(b.sockets).toHaveLength(1)
    await settle(1)
    expect(b.sockets).toHaveLength(2)
  })

  test.each([
    1000,
    1002,
    1003,
    1007,
    1008,
    1009,
    4002,
    4003,
  ])('does not happen after close %i', async (code) => {
    const b = await live()
    b.socket().end(code, 'why')
    await settle(120_000)
    expect(b.sockets).toHaveLength(1)
    expect(b.client.state).toEqual({ status: 'closed', reason: 'why', closeCode: code })
  })

  test('does not happen after FORBIDDEN', async () => {
    const b = bench()
    b.client.connect()
    await settle()
    b.socket().refuse('FORBIDDEN', 1008)
    await settle(120_000)
    expect(b.sockets).toHaveLength(1)
    expect(b.client.state).toMatchObject({ status: 'closed', code: 'FORBIDDEN', closeCode: 1008 })
  })

  test.each([1001, 1006, 1011, 1012, 1013])('happens after close %i', async (code) => {
    const b = await live()
    b.socket().end(code)
    await settle(1000)
    expect(b.sockets).toHaveLength(2)
    expect(b.socket().session).toBe('swt_1')
  })

  test('asks for a new credential after 4001', async () => {
    const tokens = ['one', 'two']
    const b = await live({ token: () => tokens.shift()! })
    b.socket().end(4001)
    await settle(1000)
    expect(b.socket().token).toBe('two')
    expect(b.socket().session).toBeUndefined()
    expect(b.socket().url.searchParams.get('resume')).toBe('1')
  })

  test('connect() after a final refusal begins anew', async () => {
    const b = await live()
    b.socket().end(4003)
    b.client.connect()
    await settle()
    expect(b.sockets).toHaveLength(2)
    expect(b.client.state).toEqual({ status: 'connecting', attempt: 1 })
  })

  test('nonsense from the server is said, and not asked for again', async () => {
    for (const data of ['{', '[]', '{"type":5}', new ArrayBuffer(1), '{"type":"stream_chunk"}']) {
      const b = await live()
      b.socket().raw(data)
      expect(b.client.state).toMatchObject({ status: 'closed', code: 'PROTOCOL' })
      expect(b.socket().closed).toBeDefined()
    }
  })
})

/** Tells the page's events to those who listen. */
const heard = new EventTarget()
function wakeUp(event: string) {
  heard.dispatchEvent(new Event(event))
}

describe('in a page', () => {
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  beforeEach(() => {
    vi.stubGlobal('addEventListener', heard.addEventListener.bind(heard))
    vi.stubGlobal('removeEventListener', heard.removeEventListener.bind(heard))
    vi.stubGlobal('document', page)
    vi.stubGlobal('location', { href: 'https://page.example/chat/' })
  })
  afterEach(() => void vi.unstubAllGlobals())

  test('the URL is /ws of its origin', async () => {
    const sockets: string[] = []
    class Socket {
      constructor(url: string) {
        sockets.push(url)
      }
      close() {}
    }
    new Switchboard({ WebSocket: Socket as never }).connect()
    await settle()
    expect(sockets).toEqual(['wss://page.example/ws'])
  })

  test.each(['online', 'pageshow', 'visibilitychange'])('%s ends the wait at once', async (event) => {
    const b = await live({ random: () => 1 })
    b.socket().cut()
    const tell = () => (event === 'visibilitychange' ? page.dispatchEvent(new Event(event)) : wakeUp(event))
    page.visibilityState = 'hidden'
    if (event === 'visibilitychange') tell()
    await settle()
    expect(b.sockets).toHaveLength(1)
    page.visibilityState = 'visible'
    tell()
    tell()
    await settle()
    expect(b.sockets).toHaveLength(2)
    b.client.close()
    tell()
    await settle(20_000)
    expect(b.sockets).toHaveLength(2)
  })

  test('obeys server_shutdown to the millisecond, and the network waking up does not change it', async () => {
    const b = await live()
    b.socket().say({ type: 'server_shutdown', payload: { reconnect_after_ms: 7000, message: 'restarting' } })
    await settle(1000)
    b.socket().end(1012)
    expect(b.client.state).toMatchObject({ status: 'waiting', retryAt: Date.now() + 6000 })
    wakeUp('online')
    await settle(5999)
    expect(b.sockets).toHaveLength(1)
    await settle(1)
    expect(b.sockets).toHaveLength(2)
  })

  test('waking up asks a connection for a sign of life, and gives it up after 5 s', async () => {
    const b = await live()
    wakeUp('online')
    expect(b.socket().last('ping')).toBeDefined()
    await settle(4999)
    expect(b.client.state.status).toBe('live')
    await settle(1)
    expect(b.client.state).toMatchObject({ status: 'waiting', reason: 'the server does not answer' })
  })
})

describe('a connection that is silent', () => {
  test('is asked for a sign of life after the heartbeat interval, and given up without one', async () => {
    const b = await live()
    await settle(24_999)
    expect(b.socket().last('ping')).toBeUndefined()
    await settle(1)
    const ping = b.socket().last('ping')!
    b.socket().say({ type: 'pong', message_id: ping.message_id, payload: { timestamp: 1 } })
    await settle(25_000)
    expect(b.socket().sent.filter((m) => m.type === 'ping')).toHaveLength(2)
    await settle(9999)
    expect(b.client.state.status).toBe('live')
    await settle(1)
    expect(b.client.state).toMatchObject({ status: 'waiting', reason: 'the server does not answer' })
    expect(b.socket().closed).toBeDefined()
  })

  test('is not asked while something comes, and any frame is a sign of life', async () => {
    const b = await live()
    for (let i = 0; i < 10; i++) {
      await settle(20_000)
      b.socket().say({ type: 'user_typing', payload: { is_typing: true } })
    }
    expect(b.socket().last('ping')).toBeUndefined()
    await settle(25_000)
    expect(b.socket().last('ping')).toBeDefined()
    b.socket().say({ type: 'user_typing', payload: { is_typing: true } })
    await settle(10_000)
    expect(b.client.state.status).toBe('live')
  })

  test('the server’s own ping is answered', async () => {
    const b = await live()
    b.socket().say({ type: 'ping', message_id: 'p1' })
    expect(b.socket().last('pong')!.message_id).toBe('p1')
    expect(b.of('message')).toEqual([])
  })
})

describe('close()', () => {
  test('says goodbye, tells nothing more, and a later connect() resumes', async () => {
    const b = await live()
    const first = b.socket()
    const request = b.client.request('history', { topic: 'user/alice' })
    const rejected = expect(request).rejects.toMatchObject({ code: 'CLOSED' })
    b.client.close('bye')
    await rejected
    expect(first.closed).toEqual({ code: 1000, reason: 'bye' })
    expect(b.client.state).toEqual({ status: 'closed', reason: 'bye', closeCode: 1000 })
    first.say({ type: 'order_shipped', topic: 'user/alice', offset: 1 })
    expect(b.of('message')).toEqual([])
    b.client.connect()
    await settle()
    b.socket().welcome({ held: true, connection_id: 'c2', topics: { 'user/alice': 'e1:3', all: 'e1:0' } })
    expect(b.socket().last('session_restore')!.payload).toMatchObject({ positions: { 'user/alice': 'e1:0' }, replace: 'c1' })
  })

  test('ends an attempt wherever it is', async () => {
    for (const ms of [0, 1, 600]) {
      const b = bench()
      b.client.connect()
      if (ms) await settle()
      if (ms > 1) b.socket().cut()
      b.client.close()
      await settle(60_000)
      expect(b.sockets).toHaveLength(ms === 0 ? 0 : 1)
      expect(b.sockets.every((s) => s.readyState === 3)).toBe(true)
      expect(b.client.state.status).toBe('closed')
    }
  })

  test('may be called by any listener', async () => {
    for (const status of ['connecting', 'waiting', 'live', 'restoring']) {
      const b = bench()
      b.client.on('state', (s) => s.status === status && b.client.close())
      b.client.connect()
      await settle()
      b.sockets.at(-1)?.welcome()
      if (b.client.state.status === 'live') await comeBackUnless(b)
      await settle(60_000)
      expect([status, b.client.state.status]).toEqual([status, 'closed'])
    }
  })
})

async function comeBackUnless(b: ReturnType<typeof bench>) {
  b.socket().cut()
  await settle(2000)
  if (b.sockets.length > 1) b.socket().welcome({ held: true })
}

describe('the credential', () => {
  test('is proved again when it expires', async () => {
    const tokens = ['one', 'two', 'three']
    const b = await live({ token: async () => tokens.shift()! })
    b.socket().say({ type: 'auth_expiring', payload: { expires_at: 1, in_seconds: 60 } })
    b.socket().say({ type: 'auth_expiring', payload: { expires_at: 1, in_seconds: 60 } })
    await settle()
    const asked = b.socket().sent.filter((m) => m.type === 'auth')
    expect(asked.map((m) => m.payload)).toEqual([{ token: 'two' }])
    b.socket().say({
      type: 'auth_ok',
      message_id: asked[0]!.message_id,
      payload: { permissions: [], session: { id: 's1', token: 'swt_new' } },
    })
    await settle()
    expect((await comeBack(b)).session).toBe('swt_new')
    expect(statuses(b).slice(0, 2)).toEqual(['connecting', 'live'])
  })

  test('that is refused on an open connection is an error, and the connection lives', async () => {
    const b = await live({ token: 'jwt' })
    b.socket().say({ type: 'auth_expiring', payload: { expires_at: 1, in_seconds: 60 } })
    await settle()
    const id = b.socket().last('auth')!.message_id
    b.socket().say({ type: 'error_message', error_code: 'AUTH_ERROR', error_message: 'another user', message_id: id })
    await settle()
    expect(b.of('error')).toMatchObject([{ code: 'AUTH_ERROR' }])
    expect(b.client.state.status).toBe('live')
  })
})

test('mintTicket asks with the session token beside the socket', async () => {
  const asked: unknown[] = []
  const answer = (status: number, body: object) => async (url: unknown, init: unknown) => {
    asked.push(String(url), init)
    return new Response(JSON.stringify(body), { status })
  }
  const b = await live({ url: 'wss://test.example/app/websocket?user=a', fetch: answer(200, { ticket: 'tk_1' }) as never })
  expect(await b.client.mintTicket(60)).toBe('tk_1')
  expect(asked).toEqual([
    'https://test.example/app/websocket/ticket',
    { method: 'POST', headers: { Authorization: 'Bearer swt_1', 'Content-Type': 'application/json' }, body: '{"ttl_seconds":60}' },
  ])
  const refused = await live({ fetch: answer(403, { code: 'FORBIDDEN', detail: 'no' }) as never })
  await expect(refused.client.mintTicket()).rejects.toMatchObject({ code: 'FORBIDDEN', message: 'no' })
  await expect(bench().client.mintTicket()).rejects.toMatchObject({ code: 'NOT_CONNECTED' })
})
