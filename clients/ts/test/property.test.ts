import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { bench, settle } from './fake.js'
import { Model, seeded } from './model.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Lives through one random story, and returns what to expect and what was told. */
async function story(seed: number) {
  const random = seeded(seed)
  const model = new Model(random)
  const b = bench({ random: random.next })
  const sent: string[] = []
  let accepted = 0
  const serve = async () => {
    await settle(random.below(700))
    for (; accepted < b.sockets.length; accepted++) model.accept(b.sockets[accepted]!)
  }
  b.client.connect()
  await settle()
  await serve()
  for (let i = 0; i < 60; i++) {
    if (random.chance(0.7)) model.step()
    model.write()
    if (random.chance(0.15)) sent.push(b.client.send({ type: 'user_message', payload: { i } }).id)
    if (random.chance(0.05)) void b.client.openThread({ threadId: '' }).catch(() => {})
    if (random.chance(0.03)) b.socket().cut()
    if (random.chance(0.02)) {
      b.client.close()
      b.client.connect()
    }
    await serve()
  }
  for (let i = 0; i < 200 && (b.client.state.status !== 'live' || b.client.outbox.length > 0); i++) {
    model.flush()
    await settle(500)
    await serve()
  }
  model.flush()
  await settle()
  return { b, model, sent }
}

test.each(Array.from({ length: 40 }, (_, i) => i))('whatever is cut and repeated, each message is told once and each text to the letter: stories from %i * 10', async (ten) => {
  for (let seed = ten * 10; seed < ten * 10 + 10; seed++) {
    const { b, model, sent } = await story(seed)
    const at = `story ${seed}`
    expect(b.client.state.status, at).toBe('live')
    for (const topic of ['user/alice', 'all']) {
      const told = b.of('message').filter((m) => m.topic === topic)
      // The first connection began before anything had happened: nothing may be missing.
      expect(told.map((m) => m.message_id), `${at}, ${topic}`).toEqual(model.logs[topic]!.map((m) => m['message_id']))
    }
    expect(model.handled, at).toEqual(sent)
    expect(b.of('outbox').filter((o) => o.status === 'sent').map((o) => o.id), at).toEqual(sent)
    for (const [id, s] of Object.entries(model.streams)) {
      const whole = s.text.join('')
      const got = b.client.text(id)
      expect(got, `${at}, ${id}`).toMatchObject({ text: whole, length: s.text.length, missing: false, state: s.done ? 'complete' : 'open' })
    }
    // Who joins what events add, from snapshot to snapshot, has the same.
    const texts = new Map<string, string>()
    let position = 0
    for (const { event, e } of b.told) {
      if (event === 'snapshot') {
        for (const run of e.runs) for (const stream of run.streams) texts.set(stream.stream_id, stream.text)
        position = Number(e.position.split(':')[1])
      } else if (event === 'message' && e.topic === 'user/alice') {
        expect(e.offset, `${at}: an event that a snapshot had`).toBeGreaterThan(position)
      } else if (event === 'text') {
        const before = texts.get(e.streamId) ?? ''
        expect([...before].length, `${at}, ${e.streamId}: where text goes on`).toBe(e.start)
        texts.set(e.streamId, before + e.added)
        expect(e.text, at).toBe(before + e.added)
      }
    }
    for (const [id, s] of Object.entries(model.streams)) expect(texts.get(id) ?? '', `${at}, ${id}`).toBe(s.text.join(''))
    expect(b.of('gap'), at).toEqual([])
    for (const r of b.of('recovered')) expect(r, at).toMatchObject({ lost: 0, lostUnknown: false, reopened: false })
    const replays = b.frames.filter((f) => f.why === 'replay').length
    expect(b.of('recovered').reduce((n, r) => n + r.frames, 0), at).toBe(replays)
    b.client.close()
  }
})
