import { useRef } from 'preact/hooks'
import type { Device } from '../device.ts'
import { useSource } from './hooks.ts'
import { Lamp, lampOf } from './lamp.tsx'

interface Props {
  readonly label: string
  readonly tabs: readonly { readonly id: string; readonly name: string }[]
  readonly shown: string
  readonly show: (id: string) => void
  readonly devices: readonly Device[]
}

/** Tabs as assistive technology knows them: arrow keys, Home and End move among them. */
export function Tabs({ label, tabs, shown, show, devices }: Props) {
  const list = useRef<HTMLDivElement>(null)
  useSource(...devices)
  const at = tabs.findIndex(({ id }) => id === shown)
  const onKeyDown = (e: KeyboardEvent) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[e.key]
    if (to === undefined) return
    e.preventDefault()
    const next = tabs[(to + tabs.length) % tabs.length]!
    show(next.id)
    list.current?.querySelector<HTMLElement>(`#tab-${next.id}`)?.focus()
  }
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={onKeyDown}>
      {tabs.map(({ id, name }) => {
        const status = devices.find((device) => device.name === id)?.view.connection.status
        return (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            aria-controls={`panel-${id}`}
            aria-selected={id === shown}
            tabIndex={id === shown ? 0 : -1}
            onClick={() => show(id)}
          >
            {status !== undefined && <Lamp state={lampOf(status)} />}
            {name}
          </button>
        )
      })}
    </div>
  )
}
