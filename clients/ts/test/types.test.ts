import { expectTypeOf, test } from 'vitest'
import type {
  Ack,
  AgentCompletedPayload,
  ErrorMessage,
  HistoryResultPayload,
  Incoming,
  ServerMessage,
  StreamChunkPayload,
  Switchboard,
} from '../src/index.js'

test('the type of a message tells its payload', () => {
  const incoming = (m: Incoming) => {
    switch (m.type) {
      case 'agent_completed':
        return expectTypeOf(m.payload).toEqualTypeOf<AgentCompletedPayload>()
      case 'tool_executing':
        return expectTypeOf(m.payload.tool_name).toEqualTypeOf<string>()
      // @ts-expect-error text comes as an event of its own
      case 'stream_chunk':
        return undefined
    }
    return undefined
  }
  const server = (m: ServerMessage) => {
    if (m.type === 'stream_chunk') expectTypeOf(m.payload).toEqualTypeOf<StreamChunkPayload>()
    if (m.type === 'error_message') expectTypeOf(m.error_code).toEqualTypeOf<ErrorMessage['error_code']>()
  }
  expectTypeOf(incoming).parameter(0).not.toBeAny()
  expectTypeOf(server).parameter(0).not.toBeAny()
})

test('a verb tells its answer, and other types are answered by an ack', () => {
  const ask = (c: Switchboard) => {
    expectTypeOf(c.request('history', { topic: 'all' })).resolves.toEqualTypeOf<HistoryResultPayload>()
    expectTypeOf(c.request('read_passage', { file: 'a.md', line: 1 })).resolves.toEqualTypeOf<Ack>()
    // @ts-expect-error a history is that of a topic
    void c.request('history', { limit: 5 })
  }
  expectTypeOf(ask).parameter(0).not.toBeAny()
})
