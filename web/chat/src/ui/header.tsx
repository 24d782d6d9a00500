import type { Device } from '../device.ts'
import { count, lostWords } from '../model/words.ts'
import { useSource } from './hooks.ts'
import { Lamp, lampOf } from './lamp.tsx'

const words: Record<string, string> = {
  live: 'live',
  idle: 'connecting',
  connecting: 'connecting',
  restoring: 'catching up',
  waiting: 'cut off',
  closed: 'closed',
}

const order = Object.keys(words)

/** How the worst of the devices is, how many there are, and how much was lost. */
export function Header({ devices }: { devices: readonly Device[] }) {
  useSource(...devices)
  const states = devices.map(({ view }) => (view.unplugged ? 'waiting' : view.connection.status))
  const worst = states.reduce((a, b) => (order.indexOf(b) > order.indexOf(a) ? b : a))
  const lost = devices.reduce((sum, { view }) => sum + view.conversation.lost, 0)
  const more = devices.some(({ view }) => view.conversation.lostMore)
  return (
    <header class="page-head">
      <h1>Switchboard</h1>
      <p class="what">{devices.length > 1 && 'One user, two devices, one conversation. Ask, then pull a plug in the middle of the answer.'}</p>
      <p class="summary">
        <Lamp state={lampOf(worst)} /> {words[worst]} · {count(devices.length, 'device')} · {lostWords(lost, more)}
      </p>
    </header>
  )
}
