import { useCallback, useState } from 'preact/hooks'
import type { Device } from '../device.ts'
import type { LiveWire } from '../live-wire.ts'
import { filtered, type Filter } from '../model/wire.ts'
import { capital, count } from '../model/words.ts'
import { useNewest, useSource } from './hooks.ts'
import { WireRow } from './wire-row.tsx'

/** How many rows are drawn: while new ones come and go by, only what can be seen. */
const drawn = { following: 60, reading: 200 }

/** Every frame of the devices, as it comes. */
export function WirePanel({ wire: live, devices }: { wire: LiveWire; devices: readonly Device[] }) {
  useSource(live)
  const { wire } = live
  const [filter, setFilter] = useState<Filter>({ device: '', direction: '', type: '' })
  const [open, setOpen] = useState<number>()
  const rows = filtered(wire.rows, filter)
  const { list, away, onScroll, follow } = useNewest(wire.frames, open !== undefined) // what is read stays where it is
  const choose = (field: keyof Filter) => (value: string) => setFilter({ ...filter, [field]: value })
  // The same each time, so that only rows that have changed are drawn again.
  const toggle = useCallback((id: number) => setOpen((before) => (before === id ? undefined : id)), [])
  const newest = () => {
    setOpen(undefined)
    follow()
  }
  return (
    <section class="wire" aria-label="Wire">
      <header class="wire-head">
        <h2>Wire</h2>
        <p>{count(wire.frames, 'frame')}</p>
      </header>
      <div class="log-frame">
        <div class="wire-rows" ref={list} onScroll={onScroll} tabIndex={0} role="group" aria-label="Frames, newest last">
          <table>
            <thead>
              <tr>
                <th scope="col">
                  <span class="unseen">Direction</span>
                </th>
                <th scope="col">Device</th>
                <th scope="col" class="wire-offset">
                  Offset
                </th>
                <th scope="col">Type</th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(away ? -drawn.reading : -drawn.following).map((row) => (
                <WireRow key={row.id} row={row} open={row.id === open} toggle={toggle} />
              ))}
            </tbody>
          </table>
        </div>
        {away && (
          <button type="button" class="newest" onClick={newest}>
            Newest
          </button>
        )}
      </div>
      <div class="filters" role="group" aria-label="Show only">
        {devices.length > 1 && (
          <Choice label="Device" all="Both" value={filter.device} choose={choose('device')} options={devices.map(({ name }) => [name, capital(name)])} />
        )}
        <Choice label="Direction" all="Both" value={filter.direction} choose={choose('direction')} options={[['in', '↓ in'], ['out', '↑ out']]} />
        <Choice label="Type" all="All" value={filter.type} choose={choose('type')} options={wire.types.map((type) => [type, type])} />
      </div>
    </section>
  )
}

interface ChoiceProps {
  readonly label: string
  readonly all: string
  readonly value: string
  readonly options: readonly (readonly [string, string])[]
  readonly choose: (value: string) => void
}

function Choice({ label, all, value, options, choose }: ChoiceProps) {
  return (
    <label>
      {label}
      <select value={value} onChange={(e) => choose(e.currentTarget.value)}>
        <option value="">{all}</option>
        {options.map(([id, name]) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
    </label>
  )
}
