import type { Page } from 'playwright-core'
import { expect } from 'vitest'
import { scenario } from './scenario.ts'
import { pluggedOut } from './watch.ts'
import { until } from './until.ts'

/** The name and the role of what has the focus. Runs in the page. */
function focused(): { name: string; device: string } {
  const element = document.activeElement as HTMLElement | null
  const name = element?.getAttribute('aria-label') ?? (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? element.labels?.[0]?.textContent : element?.textContent)
  return { name: (name ?? '').trim(), device: element?.closest<HTMLElement>('[data-device]')?.dataset['device'] ?? '' }
}

/** Presses Tab until what has the focus is called so. A person does not press it a hundred times. */
async function tabTo(page: Page, name: string | RegExp, device = '', key = 'Tab', limit = 60): Promise<void> {
  const passed: string[] = []
  for (let presses = 0; presses < limit; presses++) {
    await page.keyboard.press(key)
    const on = await page.evaluate(focused)
    if ((device === '' || on.device === device) && (typeof name === 'string' ? on.name === name : name.test(on.name))) {
      const ring = await page.evaluate(() => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(document.activeElement!)
        return (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none'
      })
      expect(ring, `a visible ring around ${on.name}`).toBe(true)
      return
    }
    passed.push(on.name.slice(0, 40))
  }
  throw new Error(`no ${String(name)} after ${limit} presses of ${key}; passed ${passed.join(' | ')}`)
}

scenario('by keyboard alone: ask, open a passage and come back, stop, pull the plug', { wordsPerSecond: 40, reducedMotion: 'reduce' }, async ({ open, api, watch }) => {
  const { page, laptop, phone } = await open()
  watch.excuse(pluggedOut)
  await tabTo(page, 'Ask about the documents', 'laptop')
  await page.keyboard.type('What happens to a client that is slow?')
  await page.keyboard.press('Enter')
  const first = await laptop.newRun()
  await laptop.run(first).state('completed')
  expect((await page.evaluate(focused)).name, 'the focus after asking').toBe('Ask about the documents')

  await tabTo(page, /^[\w./-]+:\d+$/, 'laptop', 'Shift+Tab')
  const { name } = await page.evaluate(focused)
  await page.keyboard.press('Enter')
  await page.getByRole('dialog').locator('mark, [data-marked]').first().waitFor()
  expect(await page.evaluate(() => document.activeElement?.closest('dialog, [role="dialog"]') !== null), 'the focus is in the dialog').toBe(true)
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  expect((await page.evaluate(focused)).name, 'the focus after the dialog').toBe(name)

  // It is written until it is stopped, however many keys that takes.
  const writer = await api.begin()
  writer.write('This has no end.')
  for (const device of [laptop, phone]) await device.run(writer.run).atLeast(16)
  await tabTo(page, 'Stop', 'laptop')
  await page.keyboard.press('Enter')
  for (const device of [laptop, phone]) await device.run(writer.run).state('cancelled')
  await writer.flush().catch(() => undefined) // refused: the run was stopped
  expect((await page.evaluate(focused)).device, 'the focus after Stop stays on the device').toBe('laptop')

  await tabTo(page, 'Pull the plug', 'laptop')
  await laptop.unplug(() => page.keyboard.press('Enter'))
  await laptop.status('live')
  expect(await phone.root.getAttribute('data-status')).toBe('live')
})

scenario('by keyboard alone on a phone: the devices and the wire are tabs', { width: 390, height: 844 }, async ({ open }) => {
  const demo = await open()
  const { page, laptop, phone, wire } = demo
  await tabTo(page, /^Laptop/)
  for (const [key, tab, panel] of [
    ['ArrowRight', 'Phone', phone.root],
    ['ArrowRight', 'Wire', wire],
    ['Home', 'Laptop', laptop.root],
  ] as const) {
    await page.keyboard.press(key)
    await until(`${tab} to be selected`, async () => (await demo.tab(tab).getAttribute('aria-selected')) === 'true')
    await panel.waitFor({ state: 'visible' })
    for (const other of [laptop.root, phone.root, wire]) if (other !== panel) expect(await other.isVisible()).toBe(false)
  }
  for (const device of demo.devices) expect(await device.root.getAttribute('data-status'), device.name).toBe('live')
})
