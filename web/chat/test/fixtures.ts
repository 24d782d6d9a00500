import { addMessage, newConversation, type Conversation } from '../src/model/conversation.ts'
import type { Message } from '../src/model/message.ts'
import type { Run } from '../src/model/run.ts'

export const topic = 'user/alice'

export function message(offset: number, type: string, payload: object = {}, more: Partial<Message> = {}): Message {
  return { type, payload, topic, position: `e1:${offset}`, message_id: `m${offset}`, user_id: 'alice', ...more }
}

export function question(offset: number, content: string): Message {
  return message(offset, 'user_message', { content })
}

export function event(offset: number, type: string, payload: object = {}, run = 'r1'): Message {
  return message(offset, type, payload, { run_id: run, agent_name: 'docs' })
}

export function conversation(...messages: Message[]): Conversation {
  return messages.reduce(addMessage, newConversation(topic))
}

export function run(c: Conversation, id = 'r1'): Run {
  for (const item of c.items) if (item.kind === 'run' && item.run.id === id) return item.run
  throw new Error(`no run ${id}`)
}

/** What stands in a conversation, a word for each item. */
export function outline(c: Conversation): string[] {
  return c.items.map((item) => {
    if (item.kind === 'question') return item.text
    if (item.kind === 'run') return `run ${item.run.id} ${item.run.state}`
    return item.kind === 'gap' ? `gap ${item.gap.count ?? '?'}` : item.message.type
  })
}
