import type { Frame } from '@netra-systems/switchboard'
import { describe, expect, test } from 'vitest'
import { filtered, whyWords, Wire } from '../src/model/wire.ts'

function frame(type: string, more: Partial<Frame> & { offset?: number; payload?: Record<string, unknown> } = {}): Frame {
  const { offset, payload = {}, ...rest } = more
  const envelope = { type, payload, ...(offset === undefined ? {} : { offset }) }
  return { direction: 'in', at: 0, bytes: 10, why: 'live', envelope, raw: JSON.stringify(envelope), ...rest }
}

function chunk(start: number, text: string, more: Partial<Frame> = {}, stream = 'r1/answer'): Frame {
  return frame('stream_chunk', { payload: { stream_id: stream, start, text }, ...more })
}

function rows(wire: Wire): string[] {
  return wire.rows.map((row) => `${row.device} ${row.direction} ${row.offset ?? '–'} ${row.type} ×${row.count} ${whyWords(row)}`)
}

describe('rows', () => {
  test('live chunks of a stream fold, though another device gets its own between them', () => {
    const wire = new Wire()
    for (let i = 0; i < 3; i++) {
      wire.add('laptop', chunk(i, 'x'))
      wire.add('phone', chunk(i, 'x'))
    }
    expect(rows(wire)).toEqual(['laptop in – stream_chunk ×3 live', 'phone in – stream_chunk ×3 live'])
  })

  test('other frames of the device end a fold', () => {
    const wire = new Wire()
    wire.add('laptop', chunk(0, 'x'))
    wire.add('laptop', frame('agent_thinking', { offset: 7 }))
    wire.add('laptop', chunk(1, 'x'))
    wire.add('laptop', chunk(0, 'x', {}, 'r2/answer'))
    expect(rows(wire)).toEqual([
      'laptop in – stream_chunk ×1 live',
      'laptop in 7 agent_thinking ×1 live',
      'laptop in – stream_chunk ×1 live',
      'laptop in – stream_chunk ×1 live',
    ])
  })

  test('texts that grow side by side fold each on its own', () => {
    const wire = new Wire()
    for (let i = 0; i < 3; i++) for (const run of ['r1', 'r2']) wire.add('laptop', chunk(i, 'x', {}, `${run}/answer`))
    expect(rows(wire)).toEqual(['laptop in – stream_chunk ×3 live', 'laptop in – stream_chunk ×3 live'])
  })

  test('frames that a device sends say so', () => {
    const wire = new Wire()
    wire.add('phone', frame('stop_agent', { direction: 'out' }))
    expect(rows(wire)).toEqual(['phone out – stop_agent ×1 sent'])
  })

  test('only the newest 2,000 are kept', () => {
    const wire = new Wire()
    wire.add('laptop', frame('ack'))
    for (let i = 1; i <= 2500; i++) wire.add('laptop', frame('news', { offset: i }))
    expect(wire.types, 'types of the rows that are left').toEqual(['news'])
    expect([wire.rows.length, wire.rows[0]?.offset, wire.rows.at(-1)?.offset, wire.frames]).toEqual([2000, 501, 2500, 2501])
  })
})

describe('merged', () => {
  test('a chunk with what the other device got in several frames says in how many', () => {
    const wire = new Wire()
    for (let i = 0; i < 4; i++) wire.add('laptop', chunk(i, 'x'))
    wire.add('phone', chunk(0, 'xxxx'))
    expect(rows(wire).at(-1)).toBe('phone in – stream_chunk ×1 merged, 4 in 1')
  })

  test('one with what the other got in one frame is only live', () => {
    const wire = new Wire()
    wire.add('laptop', chunk(0, 'xxxx'))
    wire.add('phone', chunk(0, 'xxxx'))
    expect(rows(wire).at(-1)).toBe('phone in – stream_chunk ×1 live')
  })

  test('frames that reach beyond it or are of another stream do not count', () => {
    const wire = new Wire()
    wire.add('laptop', chunk(0, 'xx'))
    wire.add('laptop', chunk(2, 'xx'))
    wire.add('laptop', chunk(4, 'xx'))
    wire.add('laptop', chunk(1, 'x', {}, 'r2/answer'))
    wire.add('phone', chunk(1, 'xxxx'))
    expect(rows(wire).at(-1)).toBe('phone in – stream_chunk ×1 live')
  })

  test('its characters are code points', () => {
    const wire = new Wire()
    wire.add('laptop', chunk(0, '💡'))
    wire.add('laptop', chunk(1, '💡'))
    wire.add('phone', chunk(0, '💡💡'))
    expect(rows(wire).at(-1)).toBe('phone in – stream_chunk ×1 merged, 2 in 1')
  })

  test('a replayed chunk stays replayed and tells the number', () => {
    const wire = new Wire()
    for (let i = 0; i < 3; i++) wire.add('laptop', chunk(i, 'x'))
    wire.add('phone', chunk(0, 'xxx', { why: 'replay' }))
    expect(rows(wire).at(-1)).toBe('phone in – stream_chunk ×1 replay, 3 in 1')
  })
})

test('filters by device, direction and type', () => {
  const wire = new Wire()
  wire.add('laptop', frame('ack', { why: 'answer' }))
  wire.add('phone', frame('ack', { why: 'answer' }))
  wire.add('phone', frame('ping', { direction: 'out' }))
  const ids = (device: string, direction: string, type: string) => filtered(wire.rows, { device, direction, type }).map((row) => row.id)
  expect([ids('', '', ''), ids('phone', '', ''), ids('', 'out', ''), ids('phone', '', 'ack')]).toEqual([[1, 2, 3], [2, 3], [3], [2]])
  expect(wire.types).toEqual(['ack', 'ping'])
})
