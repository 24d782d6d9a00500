import { expect } from 'vitest'
import type { Device } from './demo.ts'
import { shown } from './recorder.ts'
import { scenario, type Stage } from './scenario.ts'
import { difference, length, numbered } from './text.ts'
import { pluggedOut, type Wire } from './watch.ts'

const text = numbered(10_000)

/** What the notice of a device must say, counted on the wire, not by the page. */
function caughtUp(rows: Wire[]): { messages: number; characters: number } {
  const restored = rows.findLastIndex((row) => row.message.type === 'session_restored')
  const asked = rows.findLast((row) => row.message.type === 'session_restore')!.message.payload as { streams?: Record<string, number> }
  const answer = rows[restored]!.message.payload as {
    topics: Record<string, { head: string; from?: string }>
    runs?: { stream_lengths?: Record<string, number> }[]
  }
  const head = Number(answer.topics['user/alice']!.head.split(':')[1])
  const missed = rows.slice(restored).filter((row) => row.message.offset !== undefined && row.message.offset <= head)
  const had = asked.streams ?? {}
  const grown = new Map<string, number>()
  for (const run of answer.runs ?? []) for (const [stream, to] of Object.entries(run.stream_lengths ?? {})) grown.set(stream, to)
  for (const { message } of missed) {
    const { stream_id, length: to } = (message.payload ?? {}) as { stream_id?: string; length?: number }
    if (message.type === 'stream_complete' && stream_id !== undefined && to !== undefined) grown.set(stream_id, to)
  }
  let characters = 0
  for (const [stream, to] of grown) characters += to - (had[stream] ?? 0)
  return { messages: missed.length, characters }
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
  expect(watch.of(device.name, 'in').filter((row) => row.message.type === 'gap')).toEqual([])
}

async function says(stage: Stage, device: Device): Promise<void> {
  await device.status('live')
  await device.notice.getByText(/Nothing lost/).waitFor()
  const notice = (await device.notice.innerText()).replace(/\s+/g, ' ')
  const numbers = /Caught up (\d[\d,]*) messages? and (\d[\d,]*) characters? in (\d+) frames?, (\d+(?:\.\d+)?) ms\. Nothing lost\./.exec(notice)
  if (!numbers) expect.fail(`the notice on the ${device.name} says ${JSON.stringify(notice)}`)
  const number = (n: number) => Number(numbers[n]!.replaceAll(',', ''))
  const want = caughtUp(stage.watch.of(device.name))
  expect({ messages: number(1), characters: number(2) }, `${notice} (on the ${device.name})`).toEqual(want)
  expect(number(3), 'frames').toBeGreaterThan(0)
  console.log(`${device.name}: ${notice}`)
}

const moments = [
  { rule: 'pulled before the first character', at: 0, pace: 1200, devices: ['phone'] },
  { rule: 'pulled in the middle', at: 2500, pace: 1000, devices: ['laptop'] },
  { rule: 'pulled near the end, which comes while it is out', at: 8000, pace: 2000, devices: ['phone'] },
  { rule: 'pulled on both devices at once', at: 3000, pace: 1000, devices: ['laptop', 'phone'] },
] as const

for (const { rule, at, pace, devices } of moments) {
  scenario(`a plug ${rule} loses none of 10,000 characters and doubles none`, { record: true }, async (stage) => {
    const demo = await stage.open()
    stage.watch.excuse(pluggedOut)
    const pulled = devices.map((name) => demo[name])
    const writer = await stage.api.begin()
    for (const device of demo.devices) await device.run(writer.run).state('running')
    const written = at === 0 ? undefined : writer.pace(text, pace).then(() => writer.complete())
    for (const device of pulled) await device.run(writer.run).atLeast(at)
    await Promise.all(pulled.map((device) => device.pull.click()))
    await Promise.all(pulled.map((device) => device.notLive()))
    for (const device of pulled) await device.root.getByRole('button', { name: /^Plug is out, \d+ s$/ }).waitFor()
    await (written ?? writer.pace(text, pace).then(() => writer.complete()))
    for (const device of pulled) await says(stage, device)
    for (const device of demo.devices) await isWhole(stage, device, writer.run)
    for (const device of demo.devices) expect(stage.watch.sockets.filter((one) => one.device === device.name).length > 1).toBe(pulled.includes(device))
  })
}
