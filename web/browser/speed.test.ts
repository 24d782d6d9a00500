import { expect } from 'vitest'
import { scenario } from './scenario.ts'
import { numbered } from './text.ts'

const limit = 50 // ms: what takes longer is felt

scenario('no task takes over 50 ms while an answer streams into a history of 500 messages', { limit: 90_000 }, async ({ open, api, tell }) => {
  const demo = await open()
  for (let n = 0; n < 20; n++) {
    const writer = await api.begin()
    writer.write(numbered(600))
    await writer.complete()
  }
  const history = Array.from({ length: 500 }, (_, n) => `Message number ${n + 1}, of which a person may have read every word.`)
  await api.say(history)
  for (const device of demo.devices) await device.log.getByText(history.at(-1)!, { exact: true }).waitFor()

  // What else the machine does may make one measurement bad, but not two.
  const measured: number[] = []
  for (let attempt = 1; attempt <= 2; attempt++) {
    await demo.page.evaluate(
      () =>
        new Promise<void>((resolve) => {
          const tasks: number[] = []
          Object.assign(window, { tasks })
          new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ entryTypes: ['longtask'] })
          requestIdleCallback(() => resolve())
        }),
    )
    const trace = await demo.page.context().newCDPSession(demo.page)
    await trace.send('Performance.enable')
    const busy = async () => (await trace.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')!.value
    const before = await busy()
    const writer = await api.begin()
    await writer.pace(numbered(4000), 800)
    await writer.complete()
    for (const device of demo.devices) await device.run(writer.run).state('completed')
    const used = (await busy()) - before
    await trace.detach()
    const tasks = await demo.page.evaluate(() => (window as unknown as { tasks: number[] }).tasks)
    const longest = Math.max(0, ...tasks)
    tell(`measurement ${attempt}: ${longest === 0 ? `no task over ${limit} ms` : `longest task ${longest} ms, ${tasks.length} over ${limit} ms`}; the main thread was busy ${(used * 1000).toFixed(0)} ms of 5,000 ms`)
    measured.push(longest)
    if (longest <= limit) return
  }
  expect(Math.min(...measured), 'the longest task, in ms').toBeLessThanOrEqual(limit)
})
