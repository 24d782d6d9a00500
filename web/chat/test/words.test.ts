import { describe, expect, test } from 'vitest'
import { aloud, completeUpTo } from '../src/model/sentences.ts'
import { callWords, duration, gapWords, lostWords, recoveryWords, resultWords, runWords, stateWords, stepsWords } from '../src/model/words.ts'
import { newRun } from '../src/model/run.ts'

const recovery = {
  topics: 2, messages: 14, characters: 412, frames: 9, lost: 0, lostUnknown: false, ms: 12.3, downMs: 4000, streams: [], reopened: false,
}

describe('what a device got that was away', () => {
  test.each([
    [{}, 'Caught up 14 messages and 412 characters in 9 frames, 12 ms. Nothing lost.'],
    [{ messages: 1, characters: 1284, frames: 1 }, 'Caught up 1 message and 1,284 characters in 1 frame, 12 ms. Nothing lost.'],
    [{ messages: 0 }, 'Caught up 412 characters in 9 frames, 12 ms. Nothing lost.'],
    [{ characters: 0 }, 'Caught up 14 messages in 9 frames, 12 ms. Nothing lost.'],
    [{ messages: 0, characters: 0, frames: 0 }, 'Caught up: nothing was missed. Nothing lost.'],
    [{ lost: 3 }, 'Caught up 14 messages and 412 characters in 9 frames, 12 ms. 3 messages lost: not kept any more.'],
    [{ messages: 0, characters: 0, frames: 0, lost: 1 }, 'Caught up. 1 message lost: not kept any more.'],
    [{ lostUnknown: true }, 'Back, but the server began a new log: what it had not delivered before is gone.'],
  ])('%o', (more, want) => {
    expect(recoveryWords({ ...recovery, ...more })).toBe(want)
  })
})

describe('how a connection stands', () => {
  test.each([
    [{ status: 'live', since: 0 }, false, 'Live'],
    [{ status: 'waiting', attempt: 2, retryAt: 11_500, reason: '' }, true, 'Unplugged. Trying again in 2 s'],
    [{ status: 'waiting', attempt: 2, retryAt: 9000, reason: '' }, false, 'Disconnected. Trying again now'],
    [{ status: 'connecting', attempt: 1 }, false, 'Connecting'],
    [{ status: 'connecting', attempt: 3 }, false, 'Connecting, attempt 3'],
    [{ status: 'restoring', attempt: 1 }, false, 'Catching up'],
    [{ status: 'closed', reason: 'the ticket is not valid' }, false, 'Closed: the ticket is not valid'],
  ] as const)('%o', (state, unplugged, want) => {
    expect(stateWords(state, unplugged, 10_000)).toBe(want)
  })
})

test('what is lost is told as far as it is known', () => {
  expect([lostWords(0), lostWords(1200), lostWords(0, true), lostWords(3, true)]).toEqual(['0 lost', '1,200 lost', 'some lost', 'more than 3 lost'])
})

test('gaps say how many are gone and why', () => {
  const gap = { topic: 'user/alice', from: 'e1:1', to: 'e1:4' }
  expect(gapWords({ ...gap, reason: 'expired', count: 3 })).toBe('3 messages are gone: kept for 7 days')
  expect(gapWords({ ...gap, reason: 'epoch_changed' })).toContain('began a new log')
})

test('steps, calls and results are told with their numbers', () => {
  const tool = { kind: 'tool', tool: 'search', parameters: {}, state: 'completed', ms: 6 } as const
  expect(stepsWords([tool, tool, { kind: 'thinking', text: '' }])).toBe('3 steps, 12 ms')
  expect(callWords('search', { query: 'resume', limit: 10 })).toBe('search("resume", limit 10)')
  expect(callWords('list', undefined)).toBe('list()')
  expect([{ hits: [1, 2] }, { lines: [1], of: 3 }, 'fine', null].map(resultWords)).toEqual(['2 hits', '1 line', 'fine', ''])
  expect([0.148, 12.4, 1003.9].map(duration)).toEqual(['0.1 ms', '12 ms', '1.0 s'])
})

test('a run says how it stands', () => {
  const run = newRun('r1')
  expect(runWords(run)).toBe('Working')
  expect(runWords({ ...run, state: 'completed', end: { ms: 1004 } })).toBe('Answered in 1.0 s')
  expect(runWords({ ...run, state: 'cancelled', end: { byUser: 'alice' } })).toBe('Stopped by alice')
  expect(runWords({ ...run, state: 'failed', end: { reason: 'it broke' } })).toBe('Failed: it broke')
})

describe('reading aloud', () => {
  test('goes up to the end of the last whole sentence', () => {
    const text = 'One. Two is lo'
    expect(completeUpTo(text, 0)).toBe(4)
    expect(completeUpTo(text, 4)).toBe(4)
    expect(completeUpTo('See a.md for v1.2 of', 0)).toBe(0)
    expect(completeUpTo('A title\n\nand more', 0)).toBe(9)
  })

  test('leaves out the signs of quotes, tables and code', () => {
    expect(aloud('> | a `slow` client | waits |\n\n— a.md:28\n')).toBe('a slow client, waits a.md, line 28.')
    expect(aloud('> | a | b |\n> |---|---|\n> | 1 | |\n')).toBe('a, b 1,')
  })
})
