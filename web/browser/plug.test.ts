import { expect } from 'vitest'
import type { Device } from './demo.ts'
import { shown } from './recorder.ts'
import { scenario, type Stage } from './scenario.ts'
import { difference, length, numbered } from './text.ts'
import { pluggedOut, type Wire } from './watch.ts'

const text = numbered(10_000)

/**
 * What the notice of a device must say, counted on the wire and not by the page: the
 * messages up to the head that the server told when it restored, and how far the text grew
 * with frames that begin below the length that it told then. It tells none of a run that
 * ended meanwhile, whose text comes before the message that ends it.
 */
function caughtUp(rows: Wire[]): { messages: number; characters: number } {
  const restored = rows.findLastIndex((row) => row.message.type === 'session_restored')
  const asked = rows.findLast((row) => row.message.type === 'session_restore')!.message.payload as { streams?: Record<string, number> }
  const told = rows[restored]!.message.payload as { topics: Record<string, { head: string }>; runs: { stream_lengths?: Record<string, number> }[] }
  const head = Number(told.topics['user/alice']!.head.split(':')[1])
  const lengths: Record<string, number> = Object.assign({}, ...told.runs.map((run) => run.stream_lengths))
  const had = new Map(Object.entries(asked.streams ?? {}))
  let at = 0 // the offset of the last message
  let messages = 0
  let characters = 0
  const grow = (stream: string, to: number) => {
    characters += Math.max(0, to - (had.get(stream) ?? 0))
    had.set(stream, Math.max(to, had.get(stream) ?? 0))
  }
  for (const { direction, message } of rows.slice(restored + 1)) {
    if (direction === 'out') continue
    const { stream_id, start, text, length: whole } = (message.payload ?? {}) as { stream_id: string; start: number; text?: string; length?: number }
    at = message.offset ?? at
    if (message.offset !== undefined && message.offset <= head) {
      messages++
      if (message.type === 'stream_complete' && text !== undefined && whole !== undefined) grow(stream_id, whole)
    }
    if (message.type === 'stream_chunk' && start < (lengths[stream_id] ?? (at < head ? Infinity : 0))) grow(stream_id, start + length(text ?? ''))
  }
  return { messages, characters }
}

async function isWhole({ api, watch }: Stage, device: Device, id: string): Promise<void> {
  const run = device.run(id)
  await run.state('completed')
  expect(difference(await run.text(), text), `the text on the ${device.name}`).toBeUndefined()
  expect(await run.length()).toBe(length(text))
  for (const one of await shown(device.page, device.name, `${id}/answer`)) {
    if (!text.startsWith(one.text)) expect.fail(`the ${device.name} showed what is no beginning of the text: ${difference(one.text, text)}`)
  }
  expect((await api.ended(id)).text).toBe(text)
  expect(watch.gaps(device.name)).toEqual([])
}

async function says(stage: Stage, device: Device): Promise<void> {
  await device.status('live')
  await device.notice.getByText(/Nothing lost/).waitFor()
  const notice = (await device.notice.innerText()).replace(/\s+/g, ' ')
  const numbers = /Caught up (?:(\d[\d,]*) messages?)?(?: and )?(?:(\d[\d,]*) characters?)? in (\d+) frames?, (\d+(?:\.\d+)?) ms\. Nothing lost\./.exec(notice)
  if (!numbers) expect.fail(`the notice on the ${device.name} says ${JSON.stringify(notice)}`)
  const number = (n: number) => Number((numbers[n] ?? '0').replaceAll(',', ''))
  const want = caughtUp(stage.watch.of(device.name))
  expect({ messages: number(1), characters: number(2) }, `${notice} (on the ${device.name})`).toEqual(want)
  expect(number(3), 'frames').toBeGreaterThan(0)
  stage.tell(`${device.name}: ${notice}`)
}

const moments = [
  { rule: 'pulled before the first character', at: 0, pace: 1200, devices: ['phone'] },
  { rule: 'pulled in the middle', at: 2500, pace: 1000, devices: ['laptop'] },
  { rule: 'pulled near the end, which comes while it is out', at: 6000, pace: 1500, devices: ['phone'] },
  { rule: 'pulled on both devices at once', at: 3000, pace: 1000, devices: ['laptop', 'phone'] },
] as const

for (const { rule, at, pace, devices } of moments) {
  scenario(`a plug ${rule} loses none of 10,000 characters and doubles none`, { record: true }, async (stage) => {
    const demo = await stage.open()
    stage.watch.excuse(pluggedOut)
    const pulled = devices.map((name) => demo[name])
    const writer = await stage.api.begin()
    for (const device of demo.devices) await device.run(writer.run).state('running')
    // The last part is not written before the plug is out, however long a busy machine takes for that.
    const characters = [...text]
    const before = at === 0 ? 0 : characters.length - 1000
    const begun = writer.pace(characters.slice(0, before).join(''), pace)
    for (const device of pulled) await device.run(writer.run).atLeast(at)
    const pull = async () => {
      for (const device of pulled) await device.pull.click()
    }
    await Promise.all([...pulled.map((device) => device.pulledOut()), pull()])
    await begun
    await writer.pace(characters.slice(before).join(''), pace)
    await writer.complete()
    for (const device of pulled) await says(stage, device)
    for (const device of demo.devices) await isWhole(stage, device, writer.run)
    for (const device of demo.devices) expect(stage.watch.sockets.filter((one) => one.device === device.name).length > 1).toBe(pulled.includes(device))
  })
}
