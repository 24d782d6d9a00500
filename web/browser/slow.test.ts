import { expect } from 'vitest'
import { shown } from './recorder.ts'
import { scenario } from './scenario.ts'
import { difference, length, numbered } from './text.ts'
import { until } from './until.ts'

/** How much of a run the laptop shows when the phone shows all of it. Runs in the page. */
function whenThePhoneHas({ run, whole }: { run: string; whole: number }): Promise<number> {
  const shown = (device: string) =>
    Number(document.querySelector<HTMLElement>(`section[data-device="${device}"] [data-stream="${run}/answer"]`)?.dataset['length'] ?? 0)
  return new Promise((resolve) => {
    const look = () => {
      if (shown('phone') >= whole) resolve(shown('laptop'))
      else requestAnimationFrame(look)
    }
    look()
  })
}

scenario('a slowed device falls behind and catches up with merged chunks, and the other does not wait', { record: true }, async ({ open, api, watch, tell }) => {
  const { page, laptop, phone, wire } = await open()
  // Written in 2 s, of which the laptop gets 2 kB each: it is behind for long enough on a busy machine, too.
  const text = numbered(16_000)
  await laptop.slow.click()
  await laptop.root.getByRole('button', { name: /^Slowed, \d+ s$/ }).waitFor()
  const writer = await api.begin()
  const shownThen = page.evaluate(whenThePhoneHas, { run: writer.run, whole: length(text) })
  const written = writer.pace(text, 8000)
  let behind = 0
  const fast = phone.run(writer.run)
  const slow = laptop.run(writer.run)
  await until(
    'the laptop to fall 1,000 characters behind',
    async () => {
      behind = Math.max(behind, (await fast.length()) - (await slow.length()))
      return behind >= 1000
    },
    15_000,
  )
  await written
  await fast.atLeast(length(text))
  expect(await shownThen, 'characters on the laptop, when the phone has all').toBeLessThan(length(text))
  await writer.complete()
  for (const run of [fast, slow]) await run.state('completed')
  for (const run of [fast, slow]) expect(difference(await run.text(), text), `the text on the ${run.device.name}`).toBeUndefined()
  for (const device of [laptop, phone]) {
    for (const one of await shown(page, device.name, `${writer.run}/answer`)) {
      if (!text.startsWith(one.text)) expect.fail(`the ${device.name} showed what is no beginning of the text: ${difference(one.text, text)}`)
    }
  }
  const chunks = (device: string) => watch.of(device, 'in').filter((row) => row.message.type === 'stream_chunk' && row.message.run_id === writer.run)
  tell(`the laptop was ${behind} characters behind; ${chunks('phone').length} chunks on the phone, ${chunks('laptop').length} on the laptop`)
  expect(chunks('laptop').length, 'chunks on the slow device').toBeLessThan(chunks('phone').length / 2)
  expect(watch.gaps('laptop')).toEqual([])
  await page.getByText('2 devices · 0 lost').waitFor()
  // The inspector tells it, and folds rows of the same kind in a row.
  const [, was, became] = await until('a merged row of the laptop in the inspector', async () => {
    const rows = await wire.getByRole('row').filter({ hasText: 'laptop' }).allInnerTexts()
    return rows.map((row) => /merged, (\d[\d,]*) in (\d+)/.exec(row)).find((found) => found !== null)
  })
  expect(Number(was!.replaceAll(',', ''))).toBeGreaterThanOrEqual(2 * Number(became))
})
