/** What the development server tells its page. */
export interface Config {
  readonly user: string
  readonly subject: string
  readonly questions: readonly string[]
}

export async function readConfig(): Promise<Config> {
  const answer = await fetch('/dev/config')
  if (!answer.ok) throw new Error(`/dev/config answered ${answer.status}`)
  return (await answer.json()) as Config
}

/**
 * How this page was opened: with both devices, or as one device of its own, by the
 * ticket in the address that another device showed.
 */
export interface Opening {
  readonly single: boolean
  readonly ticket?: string
}

const singleKey = 'switchboard.single'

/** Reads the opening and takes the ticket out of the address bar: it is good for one use. */
export function readOpening(location: Location, history: History, storage: Storage): Opening {
  const ticket = new URLSearchParams(location.hash.slice(1)).get('ticket')
  if (ticket === null) return { single: storage.getItem(singleKey) !== null }
  history.replaceState(null, '', location.pathname + location.search)
  storage.setItem(singleKey, '1')
  return { single: true, ticket }
}
