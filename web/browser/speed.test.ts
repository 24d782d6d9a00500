import type { Page } from 'playwright-core'
import { expect } from 'vitest'
import { browser, scenario } from './scenario.ts'
import { numbered } from './text.ts'

const limit = 50 // ms: what takes longer is felt

/** A task of a page's main thread: how long it took, and how much of that the thread was really at work, in ms. */
interface Task {
  wall: number
  work: number
}

interface TraceEvent {
  name: string
  ph: string
  pid: number
  tid: number
  dur?: number // microseconds, as tdur
  tdur?: number
  args: { name?: string }
}

/** The tasks of the page's main thread during what happens. */
async function tasksOf(page: Page, happens: () => Promise<void>): Promise<Task[]> {
  const traced = await browser()
  await traced.startTracing(page, { categories: ['__metadata', 'toplevel', 'disabled-by-default-devtools.timeline'] })
  await happens()
  const { traceEvents: all } = JSON.parse((await traced.stopTracing()).toString()) as { traceEvents: TraceEvent[] }
  const mains = new Set(all.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid} ${e.tid}`))
  return all
    .filter((e) => e.ph === 'X' && e.name.endsWith('RunTask') && mains.has(`${e.pid} ${e.tid}`) && e.dur !== undefined && e.tdur !== undefined)
    .map((e) => ({ wall: e.dur! / 1000, work: e.tdur! / 1000 }))
}

/** What tasks took, in words. */
function told(tasks: Task[]): string {
  const work = tasks.map((task) => task.work)
  const wall = Math.max(...tasks.map((task) => task.wall))
  return (
    `the longest of ${tasks.length} tasks worked ${Math.max(...work).toFixed(1)} ms (by the clock ${wall.toFixed(1)} ms); ` +
    `all together ${work.reduce((sum, ms) => sum + ms, 0).toFixed(0)} ms of 5,000 ms`
  )
}

const name = 'no task takes over 50 ms, or on a slow machine over twice of what it takes without a history, while an answer streams into 500 messages'

scenario(name, { limit: 120_000 }, async ({ open, api, tell }) => {
  const demo = await open()
  const streamed = () =>
    tasksOf(demo.page, async () => {
      const writer = await api.begin()
      await writer.pace(numbered(4000), 800)
      await writer.complete()
      for (const device of demo.devices) await device.run(writer.run).state('completed')
    })
  const before = await streamed()

  for (let n = 0; n < 20; n++) {
    const writer = await api.begin()
    writer.write(numbered(600))
    await writer.complete()
  }
  const history = Array.from({ length: 500 }, (_, n) => `Message number ${n + 1}, of which a person may have read every word.`)
  await api.say(history)
  for (const device of demo.devices) await device.log.getByText(history.at(-1)!, { exact: true }).waitFor()

  const tasks = await streamed()
  expect(tasks.length, 'tasks that were seen').toBeGreaterThan(100)
  tell(`without a history ${told(before)}`)
  tell(`with 500 messages ${told(tasks)}`)
  // The thread's own time: on a machine that is busy with other things a task takes as long as they let it.
  const [few, many] = [before, tasks].map((all) => Math.max(...all.map(({ work }) => work))) as [number, number]
  expect(many, 'the longest task, in ms').toBeLessThanOrEqual(Math.max(limit, 2 * few))
})
