import { useMemo } from 'preact/hooks'
import type { Config } from '../config.ts'
import type { Device, View } from '../device.ts'
import { running, runsOf, type Conversation } from '../model/conversation.ts'
import { capital, count, stateWords } from '../model/words.ts'
import { Composer } from './composer.tsx'
import { Controls } from './controls.tsx'
import { ConversationLog } from './conversation-log.tsx'
import { useNow, useSource, useView } from './hooks.ts'
import { Lamp, lampOf } from './lamp.tsx'
import type { Reading } from './passage-dialog.tsx'

interface Props {
  readonly device: Device
  readonly others: readonly Device[]
  readonly config: Config
  readonly first: boolean
  readonly read: (reading: Reading) => void
}

/** One device, with everything on it that a person sees and does there. */
export function DevicePanel({ device, others, config, first, read }: Props) {
  const view = useView(device)
  const { connection, conversation, notice } = view
  const label = `${capital(device.user)} · ${device.name}`
  const open = useMemo(() => (file: string, line: number, length: number) => read({ device, file, line, length }), [device, read])
  return (
    <section class="device" aria-label={label} data-device={device.name} data-status={connection.status}>
      <header class="device-head">
        <h2>{label}</h2>
        <State view={view} />
        {connection.status === 'closed' && (
          <button type="button" onClick={() => device.connect()}>
            Connect
          </button>
        )}
      </header>
      <ConversationLog device={device} conversation={conversation} opened={view.opened} config={config} first={first} open={open}>
        <Behind device={device} others={others} />
      </ConversationLog>
      <footer class="device-foot">
        {notice && (
          <p class={`notice notice-${notice.kind}`}>
            <span data-part="notice">{notice.text}</span> {notice.detail && <span class="detail">{notice.detail}</span>}
          </p>
        )}
        <Composer device={device} runs={running(conversation).length > 0} />
        <Controls device={device} view={view} />
      </footer>
      <p class="unseen" role="status" aria-live="polite">
        {view.spoken}
      </p>
    </section>
  )
}

function State({ view: { connection, unplugged } }: { view: View }) {
  const now = useNow(connection.status === 'waiting' ? connection.retryAt : 0)
  const status = unplugged ? 'waiting' : connection.status
  return (
    <p class={`state state-${status}`}>
      <Lamp state={lampOf(status)} /> <span data-part="state">{stateWords(connection, unplugged, now)}</span>
    </p>
  )
}

/** How much text a device is behind the others, while something holds it back. */
function Behind({ device, others }: { device: Device; others: readonly Device[] }) {
  useSource(...others)
  const { connection, conversation, slowedUntil, opened } = device.view
  if (!opened || (connection.status === 'live' && slowedUntil < Date.now())) return null
  const most = Math.max(...others.map((other) => behind(conversation, other.view.conversation)))
  if (most < 1) return null
  return (
    <p class="behind" data-part="behind">
      {count(most, 'character')} behind
    </p>
  )
}

/** How many characters of the newest runs one conversation has that another has not. */
function behind(here: Conversation, there: Conversation): number {
  const known = new Map(runsOf(here).flatMap((run) => run.streams.map((s) => [s.id, s.length])))
  let sum = 0
  for (const run of runsOf(there).slice(-8)) for (const s of run.streams) sum += Math.max(s.length - (known.get(s.id) ?? 0), 0)
  return sum
}
