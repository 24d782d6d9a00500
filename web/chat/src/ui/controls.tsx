import type { Device, View } from '../device.ts'
import { secondsLeft } from '../model/words.ts'
import { useNow } from './hooks.ts'

/** What one can do to a device to see what becomes of it. */
export function Controls({ device, view: { unpluggedUntil, slowedUntil } }: { device: Device; view: View }) {
  const now = useNow(unpluggedUntil, slowedUntil)
  const out = secondsLeft(unpluggedUntil, now)
  const slow = secondsLeft(slowedUntil, now)
  return (
    <div class="controls" role="group" aria-label="Trouble to try">
      {/* Not disabled while it is out: that would take the focus away from who has just pressed it. */}
      <button type="button" class={out > 0 ? 'on' : ''} aria-disabled={out > 0} onClick={() => out === 0 && device.pull()}>
        {out > 0 ? `Plug is out, ${out} s` : 'Pull the plug'}
      </button>
      <button type="button" onClick={() => device.reload()}>
        Reload
      </button>
      <button type="button" class={slow > 0 ? 'on' : ''} title={slow > 0 ? 'Ends it' : '2 kB a second for 15 seconds'} onClick={() => device.slow()}>
        {slow > 0 ? `Slowed, ${slow} s` : 'Slow down'}
      </button>
    </div>
  )
}
