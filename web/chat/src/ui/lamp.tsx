export type LampState = 'live' | 'busy' | 'out' | 'off'

/** A lamp, which differs by its shape as well as its colour. A word stands beside it. */
export function Lamp({ state }: { state: LampState }) {
  return (
    <svg class={`lamp lamp-${state}`} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
      {state === 'live' && <circle cx="6" cy="6" r="4.5" />}
      {state === 'busy' && <circle cx="6" cy="6" r="4" fill="none" stroke-width="2" stroke-dasharray="6.3 6.3" />}
      {state === 'out' && <path d="M6 1.2 11 10.4H1Z" />}
      {state === 'off' && <path d="M2.5 2.5l7 7m0-7l-7 7" fill="none" stroke-width="2" />}
    </svg>
  )
}

export function lampOf(status: string): LampState {
  if (status === 'live') return 'live'
  if (status === 'waiting') return 'out'
  return status === 'closed' ? 'off' : 'busy'
}
