import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Demo, Run } from './demo.ts'
import { scenario } from './scenario.ts'
import { difference, length, visible } from './text.ts'
import { until } from './until.ts'

const question = 'What happens to a client that is slow?'

scenario('a question asked on the laptop is answered on both devices, with steps and quotes that lead to their source', { wordsPerSecond: 200 }, async ({ open, api }) => {
  const { page, laptop, phone } = await open()
  await laptop.question(question)
  const id = await laptop.newRun()
  const runs = [laptop.run(id), phone.run(id)]
  for (const run of runs) await run.state('completed')

  const answer = await api.answer(id)
  expect(answer.state).toBe('complete')
  expect(answer.length).toBeGreaterThan(50)
  for (const run of runs) {
    expect(await run.length(), `data-length on the ${run.device.name}`).toBe(length(answer.text))
    expect(difference((await run.text()).replace(/\s+/g, ''), visible(answer.text)), `the answer on the ${run.device.name}`).toBeUndefined()
    expect(await run.device.log.getByText(question, { exact: true }).count(), `the question on the ${run.device.name}`).toBe(1)
    expect(await run.device.log.locator('article[data-run]').count()).toBe(1)
  }

  const steps = runs[0]!.article.locator('details')
  await steps.locator('summary').first().click()
  const told = (await steps.allInnerTexts()).join('\n')
  expect(told).toMatch(/\d+ steps?\b.*\d+(\.\d+)? ms/)
  expect(told).toContain('search')
  expect(told, 'the parameters of the search').toContain(question)
  expect(told, 'the result of the search').toMatch(/\d+ hits?/)

  await opensItsSource(runs[1]!)
  expect(await page.getByRole('dialog').count()).toBe(0)
})

/** Follows each quote of an answer to the documents and compares the marked lines with the file itself. */
async function opensItsSource(run: Run): Promise<void> {
  const { page } = run.device
  const sources = run.answer.getByRole('button', { name: /^[\w./-]+:\d+$/ })
  expect(await sources.count()).toBeGreaterThan(0)
  expect(await run.answer.locator('blockquote').count()).toBe(await sources.count())
  for (const source of await sources.all()) {
    const [file, line] = ((await source.textContent()) ?? '').split(':') as [string, string]
    await source.click()
    const dialog = page.getByRole('dialog', { name: file })
    await dialog.waitFor()
    const want = readFileSync(join(import.meta.dirname, '../../docs', file), 'utf8').split('\n')[Number(line) - 1]!
    const marked = await until('the marked line', async () => (await dialog.locator('mark, [data-marked]').allInnerTexts())[0])
    expect(marked.replace(/\s+/g, ' ')).toContain(want.trim().replace(/\s+/g, ' '))
    expect(await dialog.locator('mark, [data-marked]').first().isVisible()).toBe(true)
    await dialog.getByRole('button', { name: 'Close' }).click()
    await dialog.waitFor({ state: 'detached' })
  }
}

scenario('a question that is too large is kept, to be made shorter', { wordsPerSecond: 200 }, async ({ open }) => {
  const { page, laptop } = await open()
  const long = 'What happens to a client that is slow? '.repeat(2000).trim()
  await laptop.question(long)
  const kept = laptop.root.locator('[data-pending="failed"]')
  await kept.getByText(/Not sent: the message has \d+ bytes, and 65536 are allowed/).waitFor()
  expect(await kept.getByRole('button', { name: 'Retry' }).count()).toBe(0)
  await laptop.box.fill('And one of which nobody hears?')
  await kept.getByRole('button', { name: 'Edit' }).click()
  await kept.waitFor({ state: 'detached' })
  expect(await laptop.box.inputValue()).toBe(`${long}\nAnd one of which nobody hears?`)
  expect(await page.evaluate(() => document.activeElement?.tagName), 'what has the focus').toBe('TEXTAREA')
  await laptop.question(question)
  await laptop.run(await laptop.newRun()).state('completed')
})

scenario('each question of the page is answered with a quote', { wordsPerSecond: 0 }, async ({ open, server }) => {
  const { laptop } = await open()
  const { questions } = (await (await fetch(`${server.url}/dev/config`)).json()) as { questions: string[] }
  expect(questions.length).toBeGreaterThanOrEqual(3)
  const known: string[] = []
  for (const text of questions) {
    await laptop.question(text)
    const id = await laptop.newRun(known)
    known.push(id)
    await laptop.run(id).state('completed')
    expect(await laptop.run(id).answer.locator('blockquote').count(), text).toBeGreaterThan(0)
  }
})

/**
 * How long after a click a run does not run any more on either device, in ms. Runs in the
 * page, which does not wait for the test.
 */
function stopped(run: string): Promise<number> {
  return new Promise((resolve) => {
    let clicked: number | undefined
    addEventListener('click', () => (clicked = performance.now()), { capture: true, once: true })
    const look = () => {
      const runs = document.querySelectorAll(`article[data-run="${run}"][data-run-state="running"]`).length
      if (clicked !== undefined && runs === 0) resolve(performance.now() - clicked)
      else requestAnimationFrame(look)
    }
    look()
  })
}

// The answer has 200 words: at this pace it is not over before the scenario's limit is.
scenario('stop on one device stops the other within a second, and the text stays as the server has it', { wordsPerSecond: 3 }, async ({ open, api, tell }) => {
  const demo: Demo = await open()
  for (const [asks, stops] of [
    [demo.laptop, demo.phone],
    [demo.phone, demo.phone],
  ] as const) {
    const known = await asks.log.locator('article[data-run]').evaluateAll((all) => all.map((one) => (one as HTMLElement).dataset['run'] ?? ''))
    await asks.question('How do I stop an agent?')
    const id = await asks.newRun(known)
    for (const device of demo.devices) await device.run(id).atLeast(40)
    const [took] = await Promise.all([demo.page.evaluate(stopped, id), stops.stop.click()])
    for (const device of demo.devices) await device.run(id).state('cancelled')
    tell(`stopped on both devices after ${took.toFixed(0)} ms`)
    expect(took, 'ms until it was stopped on both devices').toBeLessThan(1000)

    const answer = await api.answer(id)
    expect(answer.state).toBe('cancelled')
    expect(answer.length).toBeGreaterThanOrEqual(40)
    for (const device of demo.devices) {
      const run = device.run(id)
      await until('the whole text', async () => (await run.length()) === answer.length)
      expect(difference((await run.text()).replace(/\s+/g, ''), visible(answer.text)), `the text on the ${device.name}`).toBeUndefined()
      await run.article.getByText('Stopped by alice').waitFor()
      expect(await device.stop.isDisabled(), `Stop on the ${device.name}`).toBe(true)
    }
  }
})

scenario('what one asks is in view, wherever the conversation was scrolled to; what others ask moves nothing', { wordsPerSecond: 0 }, async ({ open, api }) => {
  const said = Array.from({ length: 40 }, (_, n) => `Message number ${n + 1}.`)
  await api.say(said)
  const { laptop, phone } = await open()
  for (const device of [laptop, phone]) {
    await device.log.getByText(said.at(-1)!, { exact: true }).waitFor()
    await device.log.evaluate((log) => (log.scrollTop = 0))
    await device.root.getByRole('button', { name: 'Newest' }).waitFor()
  }
  await laptop.question(question)
  const id = await laptop.newRun()
  for (const device of [laptop, phone]) await device.run(id).state('completed')
  const inView = (element: Element) =>
    new Promise<boolean>((resolve) => new IntersectionObserver(([entry]) => resolve(entry!.isIntersecting)).observe(element))
  expect(await laptop.run(id).article.evaluate(inView), 'the answer on the laptop is in view').toBe(true)
  expect(await phone.run(id).article.evaluate(inView), 'the answer on the phone is in view').toBe(false)
  await phone.root.getByRole('button', { name: 'Newest' }).click()
  expect(await phone.run(id).article.evaluate(inView), 'the answer on the phone is in view after Newest').toBe(true)
})
