import { type Demo } from './demo.ts'
import type { Stage } from './scenario.ts'
import { pluggedOut } from './watch.ts'

/** The states of the page that a person sees, each reached as a person reaches it. */
export const states = ['idle', 'streaming', 'unplugged', 'caught up', 'stopped', 'passage', 'frame', 'failed'] as const
export type State = (typeof states)[number]

const question = 'What happens to a client that is slow?'

const sofar = `On “client” and “slow”, architecture.md says under “The idea: a log and cursors”, in the table of “situation” and “what it is”:

> | a slow client | its cursors stand behind; it costs no memory for it |

— architecture.md:28

A message is written once, into the log of its topic. Each connection has a cursor for each topic that it follows, and `

const rest = `what lies between a cursor and the head is what the connection still has to get. A connection that cannot take more is not waited for: its cursor stays where it is, and the log is read again when there is room. `

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
  const writer = await api.begin()
  await writer.event('agent_thinking', { status: 'thinking', reasoning: 'I read architecture.md from line 28: it scores best.', step_number: 1 })
  await writer.event('tool_executing', { tool_name: 'read', parameters: { file: 'architecture.md', from: 28, to: 40 }, status: 'executing' })
  await writer.event('tool_completed', { tool_name: 'read', result: { file: 'architecture.md', of: 163 }, execution_time_ms: 0.4, status: 'completed' })
  await writer.pace(sofar, 4000)
  for (const device of demo.devices) await device.run(writer.run).atLeast([...sofar].length)
  await look('streaming')

  await phone.show()
  await phone.pull.click()
  await phone.notLive()
  await writer.pace(rest, 4000)
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
  const row = wire.getByRole('button', { expanded: false }).first()
  await row.click()
  await look('frame')

  // A question that is larger than the server takes stays, with what was wrong and a way on.
  await laptop.show()
  await laptop.question('much too long '.repeat(5000))
  await laptop.log.getByRole('button', { name: 'Retry' }).waitFor()
  await look('failed')
}
