import { expect } from 'vitest'
import { scenario } from './scenario.ts'
import { walk } from './states.ts'

const widths = [390, 760, 761, 1024, 1280, 1600]

scenario('nothing is wider than the window, from a phone to a large screen', { limit: 180_000 }, async (stage) => {
  const demo = await stage.open()
  const { page, laptop } = demo
  await stage.api.say([`A word without an end: ${'x'.repeat(400)}`, `https://example.com/${'path/'.repeat(60)}`])
  await laptop.log.getByText('A word without an end').waitFor()
  const wide: string[] = []
  await walk(stage, demo, async (state) => {
    for (const width of widths) {
      await page.setViewportSize({ width, height: 800 })
      wide.push(...(await page.evaluate(tooWide)).map((what) => `${state} at ${width}: ${what}`))
    }
    await page.setViewportSize({ width: 1280, height: 800 })
  })
  expect(wide).toEqual([])
})

/** What can be seen or reached beyond the window's right edge. Runs in the page. */
function tooWide(): string[] {
  const found: string[] = []
  const limit = document.documentElement.clientWidth
  for (const element of [document.documentElement, document.body]) {
    if (element.scrollWidth > limit) found.push(`${element.tagName.toLowerCase()} is ${element.scrollWidth} wide`)
  }
  for (const element of document.querySelectorAll('body *')) {
    if (!element.checkVisibility()) continue
    const { right, width } = element.getBoundingClientRect()
    if (width === 0 || right <= limit + 0.5) continue
    let clipped = false
    for (let above = element.parentElement; above; above = above.parentElement) {
      const { overflowX } = getComputedStyle(above)
      if (overflowX !== 'visible' && above.getBoundingClientRect().right <= limit + 0.5) clipped = true
    }
    if (!clipped) found.push(`${element.tagName.toLowerCase()}.${element.className} ends at ${Math.round(right)}`)
  }
  // A conversation scrolls down, not to the side.
  for (const log of document.querySelectorAll('[role="log"]')) {
    if (log.checkVisibility() && log.scrollWidth > log.clientWidth) found.push(`a conversation scrolls to the side: ${log.scrollWidth} in ${log.clientWidth}`)
  }
  return found
}
