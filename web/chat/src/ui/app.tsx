import { useEffect, useState } from 'preact/hooks'
import type { Config } from '../config.ts'
import type { Device } from '../device.ts'
import type { LiveWire } from '../live-wire.ts'
import { capital } from '../model/words.ts'
import { DevicePanel } from './device-panel.tsx'
import { Header } from './header.tsx'
import { useMedia } from './hooks.ts'
import { PassageDialog, type Reading } from './passage-dialog.tsx'
import { Tabs } from './tabs.tsx'
import { WirePanel } from './wire-panel.tsx'

interface Props {
  readonly config: Config
  readonly devices: readonly Device[]
  readonly wire: LiveWire
}

/** The page: the devices side by side and the wire beside them, or all as tabs where it is narrow. */
export function App({ config, devices, wire }: Props) {
  const narrow = useMedia('(max-width: 760px)')
  const [shown, show] = useState(devices[0]!.name)
  const [reading, read] = useState<Reading>()
  const tabs = [...devices.map(({ name }) => ({ id: name, name: capital(name) })), { id: 'wire', name: 'Wire' }]
  const panel = (id: string) => ({
    class: 'panel',
    ...(narrow && { id: `panel-${id}`, role: 'tabpanel' as const, 'aria-labelledby': `tab-${id}`, hidden: shown !== id }),
  })
  const use = (used: Device) => {
    for (const device of devices) device.speaker.silent = device !== used
    used.use(devices)
  }
  useEffect(() => {
    const look = () => devices.forEach((device) => device.hide(document.hidden || (narrow && shown !== device.name)))
    look()
    document.addEventListener('visibilitychange', look)
    return () => document.removeEventListener('visibilitychange', look)
  }, [devices, narrow, shown])
  const turnTo = (id: string) => {
    show(id)
    const device = devices.find(({ name }) => name === id)
    if (device) use(device)
  }
  return (
    <>
      <Header devices={devices} />
      <main class={devices.length === 1 ? 'one' : ''}>
        {narrow && <Tabs label="Devices" tabs={tabs} shown={shown} show={turnTo} devices={devices} />}
        {devices.map((device, i) => (
          <div key={device.name} {...panel(device.name)} {...whenUsed(() => use(device))}>
            <DevicePanel device={device} others={devices} config={config} first={i === 0} read={read} />
          </div>
        ))}
        <div key="wire" {...panel('wire')}>
          <WirePanel wire={wire} devices={devices} />
        </div>
      </main>
      {reading && <PassageDialog reading={reading} close={() => read(undefined)} />}
    </>
  )
}

/** What a person does to something that shows that it is used. */
function whenUsed(use: () => void) {
  return { onFocusCapture: use, onPointerDownCapture: use, onKeyDownCapture: use, onWheelCapture: use, onTouchMoveCapture: use }
}
