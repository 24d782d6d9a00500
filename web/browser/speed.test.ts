import type { BrowserContext, Page } from 'playwright-core'
import { expect } from 'vitest'
import type { Api } from './api.ts'
import { Demo } from './demo.ts'
import { browser, scenario } from './scenario.ts'
import { length, numbered } from './text.ts'
import { until } from './until.ts'

interface TraceEvent {
  name: string
  ph: string
  pid: number
  tid: number
  dur?: number // microseconds, as tdur
  tdur?: number
  args: { name?: string; elementCount?: number; beginData?: { dirtyObjects?: number } }
}

/** What the page's main thread did during what happens, as far as it is of a category. */
async function trace(page: Page, category: string, happens: () => Promise<void>): Promise<TraceEvent[]> {
  const traced = await browser()
  await traced.startTracing(page, { categories: ['__metadata', category] })
  await happens()
  const { traceEvents: all } = JSON.parse((await traced.stopTracing()).toString()) as { traceEvents: TraceEvent[] }
  const mains = new Set(all.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid} ${e.tid}`))
  return all.filter((e) => e.ph === 'X' && mains.has(`${e.pid} ${e.tid}`))
}

/** How often functions of the page's scripts are called during what happens. V8 counts each call. */
async function calls(context: BrowserContext, page: Page, happens: () => Promise<void>): Promise<number> {
  const devtools = await context.newCDPSession(page)
  await devtools.send('Profiler.enable')
  await devtools.send('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  await happens()
  const { result } = await devtools.send('Profiler.takePreciseCoverage')
  await devtools.detach()
  const counts = result.filter((script) => script.url.startsWith('http')).flatMap((script) => script.functions.map((one) => one.ranges[0]?.count ?? 0))
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Gives a page that is open a history of 20 runs and 500 messages. */
async function giveHistory(api: Api, demo: Demo): Promise<void> {
  for (let n = 0; n < 20; n++) {
    const writer = await api.begin()
    writer.write(numbered(600))
    await writer.complete()
  }
  const history = Array.from({ length: 500 }, (_, n) => `Message number ${n + 1}, of which a person may have read every word.`)
  await api.say(history)
  for (const device of demo.devices) await device.log.getByText(history.at(-1)!, { exact: true }).waitFor()
}

/**
 * The work of a page for one frame while an answer grows. Counted, not timed: how long a
 * frame takes is the machine's affair as well, how much of the page it goes through is not.
 */
interface Work {
  /** Calls of functions. */
  calls: number
  /** Boxes that were changed, and so had to be laid out. */
  boxes: number
  /** Elements whose style had to be worked out. */
  styles: number
}

const frames = 100
const frameMs = 20
const charactersOfFrame = 16 // 800 a second

scenario('while an answer streams, a page with 500 messages does no more work than an empty one', { limit: 120_000 }, async ({ context, api, watch, tell }) => {
  const page = await context.newPage()
  await page.clock.install()
  await page.goto('/')
  const demo = await new Demo(page).live()

  /** Whether a device got the text of a run up to so many characters. */
  const got = (device: string, run: string, characters: number) =>
    watch.wire.some(({ device: of, message: { type, run_id, payload } }) => {
      if (of !== device || type !== 'stream_chunk' || run_id !== run) return false
      return Number(payload?.['start']) + length(String(payload?.['text'])) === characters
    })

  // The page's time goes from frame to frame, each of which has as much that is new, however fast the machine is.
  const work = async (): Promise<Work> => {
    const writer = await api.begin()
    for (const device of demo.devices) await device.run(writer.run).state('running')
    await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 4000) // ahead of what passes meanwhile
    const text = [...numbered(frames * charactersOfFrame)]
    const grow = async () => {
      for (let to = charactersOfFrame; to <= text.length; to += charactersOfFrame) {
        writer.write(text.slice(to - charactersOfFrame, to).join(''))
        await until('the text on both devices', () => demo.devices.every(({ name }) => got(name, writer.run, to)))
        await page.clock.runFor(frameMs)
      }
    }
    let called = 0
    const events = await trace(page, 'devtools.timeline', async () => {
      called = await calls(context, page, grow)
    })
    await page.clock.resume()
    await writer.complete()
    for (const device of demo.devices) await device.run(writer.run).state('completed')
    const sum = (name: string, of: (e: TraceEvent) => number | undefined) => events.reduce((sum, e) => (e.name === name ? sum + (of(e) ?? NaN) : sum), 0)
    return {
      calls: called / frames,
      boxes: sum('Layout', (e) => e.args.beginData?.dirtyObjects) / frames,
      styles: sum('UpdateLayoutTree', (e) => e.args.elementCount) / frames,
    }
  }

  const few = await work()
  await giveHistory(api, demo)
  const many = await work()
  for (const [which, { calls, boxes, styles }] of Object.entries({ 'without a history': few, 'with 500 messages': many })) {
    tell(`${which}: ${calls.toFixed(0)} calls, ${boxes.toFixed(0)} boxes and ${styles.toFixed(0)} styles a frame`)
  }

  // Each message has a box, an element and a component, which takes ten calls, on both devices: whatever went through them all would stand out.
  expect(few.boxes, 'boxes that were counted').toBeGreaterThan(0)
  expect(few.styles, 'styles that were counted').toBeGreaterThan(0)
  expect(many.calls, 'calls').toBeLessThan(2 * few.calls)
  expect(many.boxes, 'boxes').toBeLessThan(few.boxes + 100)
  expect(many.styles, 'styles').toBeLessThan(few.styles + 100)
})

scenario('how long the tasks of a page take while an answer streams', { limit: 120_000 }, async ({ open, api, tell }) => {
  const demo = await open()
  const times = async (): Promise<string> => {
    const events = await trace(demo.page, 'disabled-by-default-devtools.timeline', async () => {
      const writer = await api.begin()
      await writer.pace(numbered(4000), 800)
      await writer.complete()
      for (const device of demo.devices) await device.run(writer.run).state('completed')
    })
    const tasks = events.filter((e) => e.name === 'RunTask' && e.dur !== undefined && e.tdur !== undefined)
    expect(tasks.length, 'tasks that were seen').toBeGreaterThan(100)
    // The thread's own time has no other program's work in it.
    const [work, wall] = [tasks.map((e) => e.tdur! / 1000), tasks.map((e) => e.dur! / 1000)]
    return (
      `the longest of ${tasks.length} tasks worked ${Math.max(...work).toFixed(1)} ms (by the clock ${Math.max(...wall).toFixed(1)} ms); ` +
      `all together ${work.reduce((sum, ms) => sum + ms, 0).toFixed(0)} ms of 5,000 ms`
    )
  }
  tell(`without a history: ${await times()}`)
  await giveHistory(api, demo)
  tell(`with 500 messages: ${await times()}`)
})
