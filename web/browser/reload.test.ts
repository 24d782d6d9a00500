import { expect } from 'vitest'
import { type Demo, type Device } from './demo.ts'
import { shown } from './recorder.ts'
import { scenario } from './scenario.ts'
import { difference, numbered } from './text.ts'
import { until } from './until.ts'

const text = numbered(3000)

// The rest is not written before the reload is over, however long a busy machine takes for that.
const [most, rest] = [[...text].slice(0, 2400).join(''), [...text].slice(2400).join('')]

/** What a device showed of a text since it was loaded must begin where it was before and grow to the end. */
async function grew(device: Device, id: string, want: string, before = ''): Promise<void> {
  const list = await shown(device.page, device.name, `${id}/answer`)
  expect(list.length, `texts that the ${device.name} showed`).toBeGreaterThan(0)
  expect(list[0]!.text.length, `what the ${device.name} showed first, against what it had before`).toBeGreaterThanOrEqual(before.length)
  let last = ''
  for (const { text } of list) {
    if (!want.startsWith(text)) expect.fail(`the ${device.name} showed a text that the answer does not begin with: ${difference(text, want)}`)
    if (text.length < last.length) expect.fail(`the ${device.name} took ${last.length - text.length} units back`)
    last = text
  }
  expect(difference(last, want), `the last text on the ${device.name}`).toBeUndefined()
}

scenario('a page reload in the middle of an answer goes on at the exact character', { record: true }, async ({ open, api }) => {
  const demo = await open()
  const writer = await api.begin()
  const begun = writer.pace(most, 600)
  for (const device of demo.devices) await device.run(writer.run).atLeast(800)

  const before = await Promise.all(demo.devices.map((device) => device.run(writer.run).text()))
  await demo.page.reload()
  for (const device of demo.devices) await device.run(writer.run).atLeast(1)
  expect((await api.answer(writer.run)).state, 'the answer is still being written').toBe('open')
  await begun
  await writer.pace(rest, 600)
  await writer.complete()
  expect((await api.ended(writer.run)).text).toBe(text)
  for (const [n, device] of demo.devices.entries()) {
    await device.run(writer.run).state('completed')
    await grew(device, writer.run, text, before[n])
    expect(await device.log.locator('article[data-run]').count(), `runs on the ${device.name}`).toBe(1)
  }
})

scenario("the page's own Reload goes on at the exact character, and the other device notices nothing", { record: true }, async ({ open, api, watch }) => {
  const demo = await open()
  const writer = await api.begin()
  const begun = writer.pace(most, 600)
  const run = demo.laptop.run(writer.run)
  await run.atLeast(800)
  const before = await run.text()
  const sockets = watch.sockets.length
  await demo.laptop.reload.click()
  await until('a new connection of the laptop', () => watch.sockets.length > sockets)
  await demo.laptop.status('live')
  await run.atLeast(before.length / 2)
  await begun
  await writer.pace(rest, 600)
  await writer.complete()
  for (const device of demo.devices) {
    await device.run(writer.run).state('completed')
    expect(difference(await device.run(writer.run).text(), text), `the text on the ${device.name}`).toBeUndefined()
  }
  await grew(demo.phone, writer.run, text)
  expect(watch.sockets.slice(sockets).map((socket) => socket.device), 'new connections').toEqual(['laptop'])
  // The laptop forgot what it had; what it showed first when it was back is all that there was.
  const list = await shown(demo.page, 'laptop', `${writer.run}/answer`)
  for (const one of list) if (!text.startsWith(one.text)) expect.fail(`the laptop showed what is no beginning of the answer: ${difference(one.text, text)}`)
  const back = list.findIndex((one, n) => n > 0 && one.text.length < list[n - 1]!.text.length)
  const after = back < 0 ? list.filter((one) => one.text.length >= before.length) : list.slice(back).filter((one) => one.text !== '')
  expect(after[0]!.text.length, 'the first text after Reload').toBeGreaterThanOrEqual(before.length)
})

scenario('history is there after a reload, in order and once, and Earlier brings the rest', {}, async ({ open, api }) => {
  const said = Array.from({ length: 130 }, (_, n) => `Message number ${n + 1}.`)
  await api.say(said)
  const demo: Demo = await open()
  for (const round of ['as opened', 'after a reload']) {
    if (round !== 'as opened') {
      await demo.page.reload()
      await demo.live()
    }
    for (const device of demo.devices) {
      const numbers = async () => ((await device.log.textContent()) ?? '').match(/Message number \d+\./g) ?? []
      await device.log.getByText(said.at(-1)!, { exact: true }).waitFor()
      const first = await numbers()
      expect(first, `${round}, on the ${device.name}`).toEqual(said.slice(-first.length))
      expect(first.length).toBeLessThan(said.length)
      for (let have = first.length; have < said.length; ) {
        await device.earlier.click()
        have = await until('earlier messages', async () => {
          const now = (await numbers()).length
          return now > have && now
        })
      }
      expect(await numbers(), `${round}, all on the ${device.name}`).toEqual(said)
      await until('the end of Earlier', async () => (await device.earlier.count()) === 0)
    }
  }
})
