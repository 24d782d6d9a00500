import { expect } from 'vitest'
import { said } from './recorder.ts'
import { scenario } from './scenario.ts'
import { until } from './until.ts'

scenario('a screen reader is told whole sentences, each once, and not tokens', { record: true }, async ({ open, api }) => {
  const demo = await open()
  const sentences = [
    'A message is written once, into the log of its topic.',
    'Is a slow client waited for?',
    'No: its cursor stays where it is, for instance at version 1.5 of offset 3,000!',
    'It costs no memory.',
    'That is all of it, in five sentences.',
  ]
  const before = new Map<string, number>()
  for (const device of demo.devices) before.set(device.name, (await said(demo.page, device.name)).length)
  const writer = await api.begin()
  await writer.pace(sentences.join(' '), 120)
  await writer.complete()
  for (const device of demo.devices) {
    await device.run(writer.run).state('completed')
    const telling = async () => (await said(demo.page, device.name)).slice(before.get(device.name))
    await until(`the ${device.name} to tell the last sentence`, async () => (await telling()).some((one) => one.includes(sentences.at(-1)!))).catch(() => undefined)
    const told = await telling()
    const whole = told.filter((one) => sentences.some((sentence) => one.includes(sentence)))
    const parts = told.filter((one) => !whole.includes(one) && sentences.some((sentence) => sentence.includes(one) || one.includes(sentence.slice(0, 12))))
    expect(parts, `parts of sentences that the ${device.name} told`).toEqual([])
    expect(told.length, `announcements of the ${device.name}: ${told.join(' | ')}`).toBeLessThanOrEqual(sentences.length + 3)
    for (const sentence of sentences) expect(told.filter((one) => one.includes(sentence)).length, `${sentence} on the ${device.name}: ${told.join(' | ')}`).toBe(1)
  }
})

scenario('a screen reader is not told again what was there before a reload', { record: true }, async ({ open, api }) => {
  const { page, laptop } = await open()
  const writer = await api.begin()
  await writer.pace('This is the first sentence. This is the second one. And ', 500)
  await laptop.run(writer.run).atLeast(50)
  await page.reload()
  await laptop.status('live')
  await laptop.run(writer.run).atLeast(50)
  await writer.pace('this is the third one. This is the last one.', 500)
  await writer.complete()
  await laptop.run(writer.run).state('completed')
  const told = await until('the last sentence', async () => {
    const all = (await said(page, 'laptop')).join(' ')
    return all.includes('This is the last one.') && all
  })
  expect(told).not.toMatch(/first|second/)
  expect(told).toContain('And this is the third one.')
})
