import { render } from 'preact'
import { readConfig, readOpening } from './config.ts'
import { Device } from './device.ts'
import { LiveWire } from './live-wire.ts'
import { App } from './ui/app.tsx'
import './css/base.css'
import './css/layout.css'
import './css/device.css'
import './css/run.css'
import './css/wire.css'
import './css/passage.css'

async function begin(page: HTMLElement): Promise<void> {
  const opening = readOpening(location, history, sessionStorage)
  try {
    const config = await readConfig()
    const wire = new LiveWire()
    const names = opening.single ? ['phone'] : ['laptop', 'phone']
    const devices = names.map(
      (name) => new Device({ name, user: config.user, ticket: opening.ticket, byTicket: opening.single, onFrame: wire.add }),
    )
    render(<App config={config} devices={devices} wire={wire} />, page)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    render(<p class="no-server">The server could not be reached ({why}). Start it with “switchboard dev” and load this page again.</p>, page)
  }
}

void begin(document.getElementById('page')!)
