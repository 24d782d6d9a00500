import { expect, test } from 'vitest'
import { addGap, addMessage, addText } from '../src/model/conversation.ts'
import { groupOf, grouped } from '../src/model/groups.ts'
import { conversation, event, question, topic } from './fixtures.ts'

const many = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => question(from + n, `Question ${from + n}`))

test('all items are in groups, in their order, each in the one that its place says', () => {
  const again = { ...question(1, 'in a new log'), position: 'e2:1' }
  const news = { ...question(7, 'to all'), topic: 'all' }
  const c = addGap(conversation(...many(1, 100), again, news), { topic, from: 'e1:99', to: 'e2:0', reason: 'epoch_changed' })
  const groups = grouped(c.items)
  expect(groups.flatMap(({ items }) => items)).toEqual(c.items)
  expect(groups.map(({ key, items }) => [key, items.length])).toEqual([
    ['0:0', 31],
    ['0:1', 32],
    ['0:2', 32],
    ['0:3', 4],
    ['1:0', 3],
  ])
  for (const { key, items } of groups) expect(items.map(groupOf)).toEqual(items.map(() => key))
})

test('only the group of what has changed is a new one', () => {
  const before = conversation(event(5, 'agent_started'), ...many(10, 100), event(100, 'agent_started', {}, 'r2'))
  const groups = grouped(before.items)
  const changed = (c: typeof before) => grouped(c.items, groups).flatMap((group) => (groups.includes(group) ? [] : [group.key]))
  expect(changed(before)).toEqual([])
  expect(changed(addText(before, 'r2', 'r2/answer', 'So', 2))).toEqual(['0:3'])
  expect(changed(addText(before, 'r1', 'r1/answer', 'So', 2))).toEqual(['0:0'])
  expect(changed(addMessage(before, question(101, 'the next')))).toEqual(['0:3'])
  expect(changed(addMessage(before, question(128, 'of the next group')))).toEqual(['0:4'])
})

test('older items move none to another group', () => {
  const c = conversation(...many(40, 200))
  const groups = grouped(c.items)
  const older = grouped(many(1, 40).reduce(addMessage, c).items, groups)
  expect(older.map(({ key, items }) => [key, items.length, groups.some((group) => items === group.items)])).toEqual([
    ['0:0', 31, false],
    ['0:1', 32, false],
    ['0:2', 32, true],
    ['0:3', 32, true],
    ['0:4', 32, true],
    ['0:5', 32, true],
    ['0:6', 8, true],
  ])
})
