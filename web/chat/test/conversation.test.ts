import { describe, expect, test } from 'vitest'
import { codePoints } from '@netra-systems/switchboard'
import { addGap, addMessage, addPending, addSnapshot, addText, endUnknownRuns, itemAt, markStream, newConversation, newest, newestRuns, runOf, running, runsOf } from '../src/model/conversation.ts'
import { conversation, event, message, outline, question, run, topic } from './fixtures.ts'

const answered = [
  question(1, 'Why?'),
  event(2, 'agent_started'),
  event(3, 'agent_thinking', { reasoning: 'I search.' }),
  event(4, 'tool_executing', { tool_name: 'search', parameters: { query: 'why' } }),
  event(5, 'tool_completed', { tool_name: 'search', result: { hits: [1, 2] }, execution_time_ms: 4 }),
  event(6, 'stream_open', { stream_id: 'r1/answer' }),
  event(7, 'stream_complete', { stream_id: 'r1/answer', length: 8, state: 'complete', text: 'Because.' }),
  event(8, 'agent_completed', { execution_time_ms: 20 }),
]

describe('order', () => {
  test('items stand by offset, in whatever order they come', () => {
    const c = conversation(question(30, 'third'), question(10, 'first'), question(20, 'second'))
    expect(outline(c)).toEqual(['first', 'second', 'third'])
  })

  test('a message that comes again changes nothing', () => {
    const c = conversation(...answered)
    for (const again of answered) expect(addMessage(c, again).items).toEqual(c.items)
  })

  test('a new epoch stands behind the former one, though its offsets begin anew', () => {
    const c = conversation(question(40, 'before'), { ...question(1, 'after'), position: 'e2:1' })
    expect(outline(c)).toEqual(['before', 'after'])
  })

  test('a message of another topic stands where it came', () => {
    const all = { ...message(7, 'news'), topic: 'all' }
    const c = conversation(question(10, 'first'), all, question(11, 'second'))
    expect(outline(c)).toEqual(['first', 'news', 'second'])
  })

  test('a run stands at its first event, also when that comes last', () => {
    const c = conversation(event(5, 'agent_completed'), question(3, 'other'), event(2, 'agent_started'))
    expect(outline(c)).toEqual(['run r1 completed', 'other'])
  })

  test('messages without a place in a log are none of a conversation', () => {
    const { position: _, ...typing } = message(1, 'user_typing')
    expect(conversation(typing).items).toEqual([])
  })
})

describe('runs', () => {
  test('events fold into steps with parameters, results and times', () => {
    expect(run(conversation(...answered))).toMatchObject({
      agent: 'docs',
      state: 'completed',
      end: { ms: 20 },
      steps: [
        { kind: 'thinking', text: 'I search.' },
        { kind: 'tool', tool: 'search', parameters: { query: 'why' }, result: { hits: [1, 2] }, ms: 4, state: 'completed' },
      ],
      streams: [{ id: 'r1/answer', text: 'Because.', length: 8, state: 'complete' }],
    })
  })

  test('events that come backwards fold into the same run', () => {
    expect(run(conversation(...answered.toReversed()))).toEqual(run(conversation(...answered)))
  })

  test('a tool that fails keeps its error', () => {
    const c = conversation(
      event(1, 'tool_executing', { tool_name: 'read', parameters: { file: 'x' } }),
      event(2, 'tool_completed', { tool_name: 'read', error: 'no such file', execution_time_ms: 1 }),
    )
    expect(run(c).steps).toMatchObject([{ state: 'failed', result: 'no such file', parameters: { file: 'x' } }])
  })

  test('a stopped run says who stopped it and keeps its text', () => {
    let c = conversation(event(1, 'agent_started'), event(2, 'stream_open', { stream_id: 'r1/answer' }))
    c = addText(c, 'r1', 'r1/answer', 'Half an ans', 11)
    c = addMessage(c, event(3, 'stream_complete', { stream_id: 'r1/answer', length: 11, state: 'cancelled' }))
    c = addMessage(c, event(4, 'agent_cancelled', { by_user: 'alice', reason: 'stopped' }))
    expect(run(c)).toMatchObject({ state: 'cancelled', end: { byUser: 'alice' }, streams: [{ text: 'Half an ans', state: 'cancelled' }] })
    expect(running(c)).toEqual([])
  })

  test.each([
    ['agent_error', { error_message: 'it broke' }, 'failed', 'it broke'],
    ['agent_death', { message: 'no heartbeat for 30 s' }, 'dead', 'no heartbeat for 30 s'],
  ])('%s ends the run and says why', (type, payload, state, reason) => {
    expect(run(conversation(event(1, 'agent_started'), event(2, type, payload)))).toMatchObject({ state, end: { reason } })
  })

  test('a text too long for its last event says how long it is', () => {
    const c = conversation(event(1, 'stream_complete', { stream_id: 'r1/answer', length: 90_000, state: 'complete' }))
    expect(run(c).streams).toMatchObject([{ text: '', length: 0, whole: 90_000 }])
  })

  test('events of other kinds are steps too', () => {
    const c = conversation(event(1, 'progress_update', { progress_data: { percentage: 40 } }))
    expect(run(c).steps).toEqual([{ kind: 'event', type: 'progress_update', payload: { progress_data: { percentage: 40 } } }])
  })
})

describe('of many runs', () => {
  const told = [
    event(1, 'agent_started', {}, 'r1'),
    event(2, 'agent_started', {}, 'r2'),
    question(3, 'Why?'),
    event(4, 'agent_completed', {}, 'r1'),
    event(5, 'agent_started', {}, 'r3'),
    event(6, 'agent_error', {}, 'r3'),
    event(7, 'stream_open', { stream_id: 'r2/answer' }, 'r2'),
  ]

  test.each([
    ['as they come', told],
    ['backwards', told.toReversed()],
    ['from the middle', [...told.slice(3), ...told.slice(0, 3)]],
  ])('it is known which ones run and where each stands, %s', (_, messages) => {
    let c = newConversation(topic)
    for (const one of messages) {
      c = addMessage(c, one)
      const runs = runsOf(c)
      expect(running(c).map(({ id }) => id).sort()).toEqual(runs.flatMap(({ id, state }) => (state === 'running' ? [id] : [])).sort())
      expect(runs.map(({ id }) => runOf(c, id))).toEqual(runs)
    }
    expect(c.live).toEqual(['r2'])
    expect(running(addMessage(c, event(8, 'agent_cancelled', {}, 'r2')))).toEqual([])
    expect(newestRuns(c, 2).map(({ id }) => id)).toEqual(['r3', 'r2'])
    expect(runOf(c, 'r9')).toBeUndefined()
  })
})

describe('text', () => {
  test('grows and never shrinks', () => {
    let c = conversation(event(1, 'agent_started'))
    c = addText(c, 'r1', 'r1/answer', 'A lamp 💡', 8)
    c = addText(c, 'r1', 'r1/answer', 'A lamp', 6)
    expect(run(c).streams).toMatchObject([{ text: 'A lamp 💡', length: 8 }])
    expect(codePoints('A lamp 💡')).toBe(8)
  })

  test('only the run that grew is a new object', () => {
    const before = conversation(...answered, question(9, 'And?'), event(10, 'agent_started', {}, 'r2'))
    const after = addText(before, 'r2', 'r2/answer', 'So', 2)
    const changed = after.items.filter((item, i) => item !== before.items[i])
    expect(changed.map((item) => item.key)).toEqual(['run:r2'])
  })

  test('a mark says where it went on, until it is taken away', () => {
    const c = addText(conversation(event(1, 'agent_started')), 'r1', 'r1/answer', 'Half an answer', 14)
    const marked = markStream(c, 'r1/answer', { from: 4, to: 14 })
    expect(run(marked).streams[0]?.mark).toEqual({ from: 4, to: 14 })
    expect(run(markStream(marked, 'r1/answer', undefined))).toEqual(run(c))
  })

  test('a mark in a text that is not here is nothing', () => {
    const c = conversation(question(1, 'Why?'))
    expect(markStream(c, 'r9/answer', { from: 0, to: 1 })).toBe(c)
  })
})

describe('snapshots', () => {
  const live = { run_id: 'r1', agent_name: 'docs', streams: [{ stream_id: 'r1/answer', text: 'Becau' }] }

  test('give a device with nothing the conversation and the text so far', () => {
    const c = addSnapshot(conversation(), { messages: answered.slice(0, 6), runs: [live], position: 'e1:6', hasMore: false })
    expect(outline(c)).toEqual(['Why?', 'run r1 running'])
    expect(run(c).streams).toMatchObject([{ text: 'Becau', length: 5, state: 'open' }])
    expect(c.earlier).toBeUndefined()
  })

  test('text that is here already stays', () => {
    let c = conversation(...answered.slice(0, 6))
    c = addText(c, 'r1', 'r1/answer', 'Because', 7)
    c = addSnapshot(c, { messages: answered.slice(0, 6), runs: [live], position: 'e1:6', hasMore: false })
    expect(run(c).streams).toMatchObject([{ text: 'Because', length: 7 }])
  })

  test('older pages come in front and tell whether there is more', () => {
    let c = addSnapshot(conversation(), { messages: [question(9, 'new')], runs: [], position: 'e1:9', hasMore: true })
    expect(c.earlier).toBe('e1:9')
    c = addSnapshot(c, { messages: [question(5, 'old')], runs: [], position: 'e1:9', hasMore: true })
    expect(c.earlier).toBe('e1:5')
    c = addSnapshot(c, { messages: [question(1, 'oldest')], runs: [], position: 'e1:9', hasMore: false })
    expect([outline(c), c.earlier]).toEqual([['oldest', 'old', 'new'], undefined])
  })

  test('a newer page does not forget how far back the older ones went', () => {
    const oldest = addSnapshot(conversation(), { messages: [question(1, 'old')], runs: [], position: 'e1:1', hasMore: false })
    const c = addSnapshot(oldest, { messages: [question(9, 'new')], runs: [], position: 'e1:9', hasMore: true })
    expect(c.earlier).toBeUndefined()
  })
})

describe('runs that a snapshot does not know', () => {
  const nothing = { messages: [], runs: [], hasMore: false }
  const begun = conversation(question(1, 'Why?'), event(2, 'agent_started'))

  test('have ended, and what told of it is gone', () => {
    expect(run(endUnknownRuns(begun, { ...nothing, position: 'e1:9' }))).toMatchObject({ state: 'dead' })
  })

  test('run on if the snapshot is of before they began, or has them', () => {
    expect(endUnknownRuns(begun, { ...nothing, position: 'e1:1' })).toBe(begun)
    expect(endUnknownRuns(begun, { ...nothing, runs: [{ run_id: 'r1', streams: [] }], position: 'e1:9' })).toBe(begun)
  })
})

describe('gaps', () => {
  test('are a line where the messages would be, and are counted', () => {
    const gap = { topic, from: 'e1:1', to: 'e1:4', reason: 'expired', count: 3 }
    const c = addGap(conversation(question(1, 'first'), question(5, 'second')), gap)
    expect(outline(c)).toEqual(['first', 'gap 3', 'second'])
    expect([c.lost, addGap(c, gap).lost]).toEqual([3, 3])
  })

  test('of messages that only pass are none', () => {
    const c = conversation(question(1, 'first'))
    expect(addGap(c, { topic, from: 'e1:1', to: 'e1:1', reason: 'volatile', count: 2 })).toBe(c)
  })

  test('a new log begins behind its gap', () => {
    const c = addGap(conversation(question(40, 'before')), { topic, from: 'e1:40', to: 'e2:0', reason: 'epoch_changed' })
    expect(outline(addMessage(c, { ...question(1, 'after'), position: 'e2:1' }))).toEqual(['before', 'gap ?', 'after'])
  })
})

describe('questions on their way', () => {
  test('are shown until the log has them', () => {
    const sending = addPending(conversation(), { id: 'm1', text: 'Why?', status: 'sending' })
    expect(sending.pending).toHaveLength(1)
    const failed = addPending(sending, { id: 'm1', text: 'Why?', status: 'failed', error: 'too many' })
    expect(failed.pending).toEqual([{ id: 'm1', text: 'Why?', status: 'failed', error: 'too many' }])
    expect(addMessage(failed, question(1, 'Why?')).pending).toEqual([])
  })

  test('an ack behind the message does not bring it back', () => {
    const c = addPending(conversation(question(1, 'Why?')), { id: 'm1', text: 'Why?', status: 'sent' })
    expect(c.pending).toEqual([])
  })
})

describe('how far a conversation was read', () => {
  const c = conversation(question(1, 'first'), event(2, 'agent_started'), question(3, 'second'), event(4, 'agent_completed'))

  test('is told by its newest message', () => {
    expect(newest(newConversation(topic))).toBeUndefined()
    expect(newest(c)).toBe('e1:4') // of a run that began before the last question
    expect(newest(addMessage(c, { ...question(9, 'to all'), topic: 'all' }))).toBe('e1:4')
  })

  test.each([
    ['e1:1', 'first'],
    ['e1:2', 'run r1 completed'],
    ['e1:3', 'second'],
    ['e1:99', 'second'],
    ['e1:0', undefined],
    ['e9:3', undefined], // of a log that was never seen
  ])('%s lies in %s', (position, want) => {
    const item = itemAt(c, position)
    expect(item && outline({ ...c, items: [item] })[0]).toBe(want)
  })
})
