import type { Page } from 'playwright-core'
import { expect } from 'vitest'
import { Demo } from './demo.ts'
import { scenario, type Stage } from './scenario.ts'
import { difference, numbered } from './text.ts'
import { until } from './until.ts'

async function besideTheFirst({ api, watch }: Stage, first: Demo, second: Demo): Promise<void> {
  await second.live()
  const sockets = watch.sockets.filter((socket) => socket.page === first.page).length
  const text = numbered(1500)
  const writer = await api.begin()
  await writer.pace(text, 1500)
  await writer.complete()
  for (const device of [...first.devices, ...second.devices]) {
    await device.run(writer.run).state('completed')
    expect(difference(await device.run(writer.run).text(), text)).toBeUndefined()
    await device.status('live')
  }
  expect(watch.sockets.filter((socket) => socket.page === first.page).length, 'connections of the first tab').toBe(sockets)
  expect(sockets, 'connections of the first tab, one for each device').toBe(2)
}

scenario('a second tab works beside the first', {}, async (stage) => {
  const first = await stage.open()
  await besideTheFirst(stage, first, await stage.open())
})

scenario('a duplicated tab, which has the session storage of the first, works beside it', {}, async (stage) => {
  const first = await stage.open()
  const kept = await first.page.evaluate(() => JSON.stringify(sessionStorage))
  expect(Object.keys(JSON.parse(kept) as object).length, 'keys in the session storage').toBeGreaterThan(0)
  const [copy] = await Promise.all([
    stage.context.waitForEvent('page'),
    first.page.evaluate(() => void window.open(location.href)), // with an opener, the browser copies the session storage
  ])
  const second = new Demo(copy)
  await second.live()
  await besideTheFirst(stage, first, second)
})

scenario('a page opened with a ticket is one device, hides the ticket, and goes on after a reload', {}, async ({ api, context, server, watch }) => {
  const { ticket } = await api.call<{ ticket: string }>('POST', '/api/v1/tickets', { user: 'alice', ttl_seconds: 60 })
  const page: Page = await context.newPage()
  await page.goto(`/#ticket=${ticket}`)
  const one = page.locator('section[data-device]')
  const text = numbered(2400)
  await until('the one device, live', async () => (await one.count()) === 1 && (await one.getAttribute('data-status')) === 'live')
  expect(page.url()).toBe(`${server.url}/`)
  expect(await page.evaluate(() => JSON.stringify(sessionStorage) + JSON.stringify(localStorage))).not.toContain(ticket)

  const demo = new Demo(page)
  const device = demo.devices.find(({ name }) => watch.sockets.some((socket) => socket.device === name))!
  const writer = await api.begin()
  const written = writer.pace(text, 800).then(() => writer.complete())
  await device.run(writer.run).atLeast(600)
  await page.reload()
  await device.status('live')
  expect(await one.count()).toBe(1)
  await written
  await device.run(writer.run).state('completed')
  expect(difference(await device.run(writer.run).text(), text)).toBeUndefined()
  for (const { url } of watch.sockets.slice(1)) expect(url, 'the second connection').not.toContain('ticket=')
})
