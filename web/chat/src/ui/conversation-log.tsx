import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Config } from '../config.ts'
import type { Device, ReadMark } from '../device.ts'
import { itemAt, type Conversation, type Pending } from '../model/conversation.ts'
import { groupOf, grouped, type Group } from '../model/groups.ts'
import { GroupView } from './group-view.tsx'
import { useNewest } from './hooks.ts'

interface Props {
  readonly device: Device
  readonly conversation: Conversation
  readonly readMark: ReadMark | undefined
  /** On which device that was. */
  readonly where: string
  readonly opened: boolean
  readonly config: Config
  readonly first: boolean
  readonly open: (file: string, line: number, length: number) => void
  /** Puts a text where one asks. */
  readonly edit: (text: string) => void
  /** Stands over the end of the conversation. */
  readonly children: ComponentChildren
}

export function ConversationLog({ device, conversation, readMark, where, opened, config, first, open, edit, children }: Props) {
  const { items, pending, earlier } = conversation
  const { list, away, onScroll, follow } = useNewest(conversation)
  // Who asks wants to see that, wherever the conversation was scrolled to.
  useLayoutEffect(() => {
    if (pending.length > 0) follow()
  }, [pending.length])
  useEffect(() => device.sees(!away), [device, away])
  const known = useRef<readonly Group[]>([])
  const groups = (known.current = grouped(items, known.current))
  const read = readMark && itemAt(conversation, readMark.position)
  const readIn = read && groupOf(read)
  const mark = readMark?.before ? 'Read up to here' : `Read on ${where}`
  const empty = opened && items.length === 0 && pending.length === 0
  return (
    <div class="log-frame">
      <div class="log" role="log" aria-live="off" aria-label="Conversation" tabIndex={0} ref={list} onScroll={onScroll}>
        <div class="log-content">
          {earlier !== undefined && <Earlier device={device} list={list} />}
          {empty && <Invitation device={device} config={config} first={first} />}
          {groups.map(({ key, items }) => (
            <GroupView key={key} items={items} open={open} read={key === readIn ? read : undefined} mark={key === readIn ? mark : ''} />
          ))}
          {pending.map((one) => (
            <PendingView key={one.id} one={one} device={device} edit={edit} />
          ))}
          {first && !empty && <Next device={device} config={config} conversation={conversation} />}
        </div>
      </div>
      {children}
      {away && (
        <button type="button" class="newest" onClick={follow}>
          Newest
        </button>
      )}
    </div>
  )
}

/** Gets what is older, and leaves what one sees where it is. */
function Earlier({ device, list }: { device: Device; list: { readonly current: HTMLElement | null } }) {
  const [busy, setBusy] = useState(false)
  const height = useRef(0)
  useLayoutEffect(() => {
    const el = list.current
    if (el === null || busy || height.current === 0) return
    if (el.scrollTop < 1) el.scrollTop = el.scrollHeight - height.current
    height.current = 0
  }, [busy])
  const get = async () => {
    height.current = list.current?.scrollHeight ?? 0
    setBusy(true)
    await device.earlier()
    setBusy(false)
  }
  return (
    <button type="button" class="earlier" aria-disabled={busy} onClick={() => busy || void get()}>
      Earlier
    </button>
  )
}

/** An empty conversation invites to begin one. */
function Invitation({ device, config, first }: Pick<Props, 'device' | 'config' | 'first'>) {
  if (!first) {
    return (
      <div class="invitation">
        <p class="lead">The same user on another device.</p>
        <p>What is asked on one appears on both. Stop it from either.</p>
      </div>
    )
  }
  return (
    <div class="invitation">
      <p class="lead">Ask about {config.subject || 'the documents'}.</p>
      <p>Ask, then pull a plug in the middle of the answer.</p>
      <ul>
        {config.questions.map((question) => (
          <li key={question}>
            <button type="button" class="question" onClick={() => device.ask(question)}>
              {question}
            </button>
          </li>
        ))}
      </ul>
    </div>
  )
}

/** The next of the questions that were not asked yet, once nothing runs. */
function Next({ device, config, conversation: { items, live, pending } }: Pick<Props, 'device' | 'config' | 'conversation'>) {
  if (pending.length > 0 || live.length > 0) return null
  const asked = new Set(items.flatMap((item) => (item.kind === 'question' ? [item.text] : [])))
  const next = config.questions.find((question) => !asked.has(question)) ?? config.questions[items.length % config.questions.length]
  if (next === undefined) return null
  return (
    <p class="next">
      <button type="button" class="question" onClick={() => device.ask(next)}>
        {next}
      </button>
    </p>
  )
}

function PendingView({ one: { id, text, status, error, tooLarge }, device, edit }: { one: Pending } & Pick<Props, 'device' | 'edit'>) {
  const takeBack = () => {
    edit(text)
    device.takeBack(id)
  }
  return (
    <div class={`item item-pending pending-${status}`} data-pending={status}>
      <p class="asked">{text}</p>
      {status !== 'failed' && <p class="aside">Sending</p>}
      {status === 'failed' && (
        <p class="aside trouble">
          Not sent: {error ?? 'the server refused it'}. It is kept here.{' '}
          <button type="button" onClick={tooLarge ? takeBack : () => device.retry(id)}>
            {tooLarge ? 'Edit' : 'Retry'}
          </button>
        </p>
      )}
    </div>
  )
}
