import { useCallback, useMemo, useRef, useState } from 'preact/hooks'
import type { Config } from '../config.ts'
import type { Device, View } from '../device.ts'
import { newestRuns, runOf, type Conversation } from '../model/conversation.ts'
import { leftMs, othersWords, otherWords, whereWords, type OtherState } from '../model/others.ts'
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
  const where = whereWords(view.others)
  const label = `${capital(device.user)} · ${device.name}`
  const open = useMemo(() => (file: string, line: number, length: number) => read({ device, file, line, length }), [device, read])
  const [draft, setDraft] = useState('')
  const area = useRef<HTMLTextAreaElement>(null)
  const edit = useCallback((text: string) => {
    setDraft((before) => (before === '' ? text : `${text}\n${before}`))
    area.current?.focus()
  }, [])
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
        <Others view={view} />
      </header>
      <ConversationLog
        device={device}
        conversation={conversation}
        readMark={view.readMark}
        where={where}
        opened={view.opened}
        config={config}
        first={first}
        open={open}
        edit={edit}
      >
        {view.typing && (
          <p class="typing" data-part="typing">
            Typing on {where}…
          </p>
        )}
        <Behind device={device} others={others} />
      </ConversationLog>
      <footer class="device-foot">
        {notice && (
          <p class={`notice notice-${notice.kind}`}>
            <span data-part="notice">{notice.text}</span> {notice.detail && <span class="detail">{notice.detail}</span>}
          </p>
        )}
        <Composer device={device} runs={conversation.live.length > 0} text={draft} setText={setDraft} area={area} />
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

/** How many devices are told one by one. */
const most = 2

/** Which other devices of the user are there. The line stays when nothing is known of them. */
function Others({ view: { others, othersKnown } }: { view: View }) {
  const now = useNow(0, ...others.map(({ leftAt }) => (leftAt === undefined ? 0 : leftAt + leftMs)))
  const told = others.filter(({ leftAt }) => leftAt === undefined || now - leftAt < leftMs)
  const there = told.filter(({ leftAt }) => leftAt === undefined)
  const listed = told.length <= most ? told : there
  return (
    <p class="others" data-part="others">
      {othersKnown && listed.length === 0 && 'No other device'}
      {othersKnown && listed.length > most && othersWords(listed)}
      {othersKnown &&
        listed.length <= most &&
        listed.map((other) => (
          <span key={other.session} data-other={other.name} data-state={other.state}>
            <Dot state={other.state} /> {otherWords(other, now)}{' '}
          </span>
        ))}
    </p>
  )
}

/** A dot for each state, which differs by its shape. */
function Dot({ state }: { state: OtherState }) {
  return (
    <svg class={`dot dot-${state}`} viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">
      {state === 'active' && <circle cx="5" cy="5" r="4" />}
      {state === 'idle' && <circle cx="5" cy="5" r="3" fill="none" stroke-width="2" />}
      {state === 'background' && <path d="M1.5 5h7" fill="none" stroke-width="2" />}
      {state === 'left' && <path d="M2 2l6 6m0-6l-6 6" fill="none" stroke-width="1.5" />}
    </svg>
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
  let sum = 0
  for (const run of newestRuns(there, 8)) {
    const known = runOf(here, run.id)?.streams
    for (const { id, length } of run.streams) sum += Math.max(length - (known?.find((s) => s.id === id)?.length ?? 0), 0)
  }
  return sum
}
