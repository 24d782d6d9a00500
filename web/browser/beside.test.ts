import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect } from 'vitest'
import { findings } from './axe.ts'
import { Demo } from './demo.ts'
import { out, scenario } from './scenario.ts'
import { until } from './until.ts'
import { pluggedOut } from './watch.ts'

scenario('each device tells what is done on the other one: active, idle after a minute, active again', {}, async ({ context, watch }) => {
  const page = await context.newPage()
  await page.clock.install()
  await page.goto('/')
  const { laptop, phone } = await new Demo(page).live()
  await laptop.tellsOthers('Phone is active')
  await phone.tellsOthers('Laptop is active')
  const pass = async (seconds: number) => {
    for (let n = 0; n < seconds; n++) {
      await page.clock.runFor(1000)
      await setTimeout(10) // the server answers pings by its own clock
    }
  }
  await pass(50)
  await laptop.box.click() // the phone is left alone
  await pass(20)
  await laptop.tellsOthers('Phone is idle')
  await phone.tellsOthers('Laptop is active')
  await phone.box.press('x')
  await laptop.tellsOthers('Phone is active')
  const said = watch.of('phone', 'out').flatMap(({ message }) => (message.type === 'presence_update' ? [message.payload?.['state']] : []))
  expect(said).toEqual(['active', 'idle', 'active'])
})

scenario('a device behind a tab is in the background, and one that says so again after its plug was pulled', { width: 390, height: 844 }, async ({ open, watch }) => {
  watch.excuse(pluggedOut)
  const demo = await open()
  const { laptop, phone } = demo
  await laptop.tellsOthers('Phone is in the background')
  await phone.show()
  await phone.tellsOthers('Laptop is in the background')
  await laptop.show()
  await laptop.question('What is a gap?')
  await phone.run(await laptop.newRun()).state('completed')
  await until('the mark', async () => (await phone.read.count()) === 1)
  await phone.show()
  expect(await phone.unplug(), 'what it tells that knows nothing').toBe('')
  expect(await phone.read.textContent(), 'what it was told before').toBe('Read on laptop')
  await phone.status('live')
  await phone.tellsOthers('Laptop is in the background')
  await laptop.tellsOthers('Phone is active')
})

scenario('a device that leaves is told to have left, and nothing moves', {}, async ({ open }) => {
  const { laptop, page } = await open()
  const layout = async () => [await laptop.log.boundingBox(), await laptop.state.boundingBox()]
  await laptop.tellsOthers('Phone is active')
  const before = await layout()
  await page.evaluate(() => {
    const socket = new WebSocket('/ws?user=alice&device=tablet')
    Object.assign(window, { tablet: socket })
    return new Promise((resolve) => socket.addEventListener('message', resolve, { once: true }))
  })
  await laptop.tellsOthers('Phone is active Tablet is active')
  await page.evaluate(() => (window as unknown as { tablet: WebSocket }).tablet.close(1000))
  await laptop.tellsOthers(/^Phone is active Tablet left [1-9] s ago$/)
  expect(await layout(), 'where things are').toEqual(before)
})

scenario('who types is told on the other device, until the text is sent, taken back, or left alone', {}, async ({ open }) => {
  const { laptop, phone } = await open()
  const height = async () => laptop.conversation.evaluate((log) => [log.scrollHeight, log.clientHeight])
  await phone.tellsOthers('Laptop is active') // by which the other device has its name
  const before = await height()
  await phone.box.pressSequentially('What')
  await laptop.typing.getByText('Typing on phone…', { exact: true }).waitFor({ timeout: 3000 })
  expect(await height(), 'what the conversation takes').toEqual(before)
  expect(await phone.typing.count(), 'on the device itself').toBe(0)
  await laptop.typing.waitFor({ state: 'detached', timeout: 8000 }) // by itself

  await phone.box.pressSequentially(' is')
  await laptop.typing.waitFor()
  await phone.box.fill('')
  await laptop.typing.waitFor({ state: 'detached', timeout: 4000 })

  await phone.box.pressSequentially('What does resume promise?')
  await laptop.typing.waitFor({ timeout: 4000 })
  await phone.box.press('Enter')
  await laptop.typing.waitFor({ state: 'detached', timeout: 2000 })
})

scenario('a mark tells how far was read on the other device, which is one that is used and at the end', { wordsPerSecond: 0 }, async ({ open, api, watch }) => {
  const { page, laptop, phone } = await open()
  const marks = (device: string) => watch.of(device, 'out').filter(({ message }) => message.type === 'mark_read').length
  await api.say(Array.from({ length: 40 }, (_, n) => `Question ${n + 1} of forty`))
  await phone.log.getByText('Question 40 of forty').waitFor()
  await page.waitForTimeout(1000)
  expect([marks('laptop'), marks('phone')], 'marks before anybody did anything').toEqual([0, 0])

  const marked = async (device: typeof phone, text: string) =>
    until(`the mark on the ${device.name} at ${text}`, async () => {
      if ((await device.read.count()) !== 1) return false
      return (await device.read.evaluate((mark) => mark.previousElementSibling?.textContent ?? '')).includes(text)
    })
  const height = async () => phone.conversation.evaluate((log) => log.scrollHeight)
  const before = await height()
  await laptop.log.click()
  await marked(phone, 'Question 40')
  expect(await phone.read.textContent()).toBe('Read on laptop')
  expect(await height(), 'the conversation with the mark').toBe(before)
  expect(await laptop.read.count(), 'marks on the device that has read').toBe(0)

  // What comes while the laptop looks at something earlier is not read there.
  await laptop.log.evaluate((log) => log.scrollTo(0, 0))
  await laptop.root.getByRole('button', { name: 'Newest' }).waitFor()
  await api.say(['A later one'])
  await phone.log.getByText('A later one').waitFor()
  await page.waitForTimeout(1000)
  await marked(phone, 'Question 40')
  await laptop.root.getByRole('button', { name: 'Newest' }).click()
  await marked(phone, 'A later one')

  // Read on the phone, and the laptop, which is loaded again, does not take its own mark for another's.
  await page.reload()
  await laptop.status('live')
  await page.waitForTimeout(1500)
  expect(await laptop.read.count(), 'marks on the laptop after a reload').toBe(0)
  await phone.box.click()
  await api.say(['The last one'])
  await marked(laptop, 'The last one')
  expect(await laptop.read.textContent()).toBe('Read on phone')
})

const views = [
  { width: 1280, height: 800, colorScheme: 'light' },
  { width: 1280, height: 800, colorScheme: 'dark' },
  { width: 390, height: 844, colorScheme: 'light' },
  { width: 390, height: 844, colorScheme: 'dark' },
] as const

for (const { width, height, colorScheme } of views) {
  scenario(`axe finds nothing in what is told of the other device at ${width}×${height}, ${colorScheme}`, { width, height, colorScheme, wordsPerSecond: 0 }, async ({ open, context }) => {
    const { page, laptop, phone } = await open()
    await laptop.question('What does resume promise?')
    await phone.run(await laptop.newRun()).state('completed')
    await phone.read.waitFor({ state: 'attached' })
    await phone.show()
    const tablet = await context.newPage() // of the same size, with a laptop and a phone of its own
    await tablet.goto('/')
    const other = await new Demo(tablet).live()
    await other.laptop.box.pressSequentially('And then')
    await phone.typing.getByText('Typing on another device…').waitFor()
    await page.bringToFront()
    await phone.tellsOthers(/^3 other devices, [123] active$/)
    expect(await phone.read.textContent()).toBe('Read on another device')
    mkdirSync(join(out, 'states'), { recursive: true })
    await page.screenshot({ path: join(out, 'states', `${width}-${colorScheme}-beside.png`) })
    expect(await findings(page)).toEqual([])
  })
}
