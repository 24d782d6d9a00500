import { type Demo } from './demo.ts'
import type { Stage } from './scenario.ts'
import { until } from './until.ts'
import { pluggedOut } from './watch.ts'

/** The states of the page that a person sees, each reached as a person reaches it. */
export const states = ['idle', 'streaming', 'unplugged', 'caught up', 'stopped', 'passage', 'frame', 'failed'] as const
export type State = (typeof states)[number]

const question = 'What happens to a client that is slow?'

const next = 'Is it waited for?'

const sofar = `No. Each connection has a cursor for each topic that it follows. concepts.md says:

> A slow client falls behind, costs no memory for it, and holds up nobody else.

— concepts.md:102

What lies between a cursor and the head `

const rest = `is what the connection still has to get. When its socket takes more, it gets that from the log, in fewer and larger pieces, and has lost nothing on the way.`

/** Leads a page through its states, in their order, and calls look in each of them. */
export async function walk(stage: Stage, demo: Demo, look: (state: State) => Promise<void>): Promise<void> {
  const { api, watch } = stage
  const { laptop, phone, wire, page } = demo
  watch.excuse(pluggedOut)
  await look('idle')

  // The laptop asks and is answered; a second answer is held in its middle.
  await laptop.show()
  await laptop.question(question)
  const first = await laptop.newRun()
  for (const device of demo.devices) await device.run(first).state('completed')
  await api.say([next])
  const writer = await api.begin()
  await writer.event('agent_thinking', { status: 'thinking', reasoning: 'I read concepts.md from line 102: it scores best.', step_number: 1 })
  await writer.tool('read', { file: 'concepts.md', from: 102, to: 104 }, { file: 'concepts.md', lines: [102, 103, 104] }, 0.4)
  await writer.pace(sofar, 4000)
  for (const device of demo.devices) await device.run(writer.run).atLeast([...sofar].length)
  await look('streaming')

  await phone.show()
  await phone.unplug()
  await writer.tool('search', { query: 'larger pieces', limit: 10 }, { hits: [{ file: 'concepts.md', from: 103 }] }, 1.9)
  await writer.pace(rest, 1000)
  await laptop.run(writer.run).atLeast([...(sofar + rest)].length)
  await look('unplugged')

  await phone.status('live')
  await phone.run(writer.run).atLeast([...(sofar + rest)].length)
  await phone.notice.waitFor()
  await look('caught up')

  await laptop.show()
  await laptop.stop.click()
  for (const device of demo.devices) await device.run(writer.run).state('cancelled')
  await writer.flush().catch(() => undefined) // refused: the run was stopped
  await look('stopped')

  await laptop.run(first).answer.getByRole('button', { name: /:\d+$/ }).first().click()
  await page.getByRole('dialog').locator('mark, [data-marked]').first().waitFor()
  await look('passage')
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })

  await demo.show('Wire')
  await wire.getByRole('button', { name: 'agent_cancelled', expanded: false }).last().click()
  await until('the frame in view', () =>
    wire.locator('.wire-json').evaluate((frame) => {
      const [shown, list] = [frame.getBoundingClientRect(), frame.closest('.wire-rows')!.getBoundingClientRect()]
      return shown.top >= list.top && shown.bottom <= list.bottom
    }),
  )
  await look('frame')

  // A question that is larger than the server takes stays, with what was wrong and a way on.
  await laptop.show()
  await laptop.question('much too long '.repeat(5000))
  await laptop.log.getByRole('button', { name: 'Edit' }).waitFor()
  await look('failed')
}
