import type { Run } from '../model/run.ts'
import { count, runWords } from '../model/words.ts'
import { Answer } from './answer.tsx'
import { Steps } from './steps.tsx'

interface Props {
  readonly run: Run
  readonly open: (file: string, line: number, length: number) => void
}

export function RunView({ run, open }: Props) {
  const { id, state, steps, streams } = run
  return (
    <article class={`item run ${state === 'running' ? '' : 'settled'}`} data-run={id} data-run-state={state} aria-label={`Answer of ${run.agent || 'an agent'}`}>
      {steps.length > 0 && <Steps steps={steps} done={state !== 'running'} />}
      {streams.map((stream) => (
        <Answer key={stream.id} stream={stream} grows={state === 'running' && stream.state === 'open'} open={open} />
      ))}
      <RunFoot run={run} />
    </article>
  )
}

function RunFoot({ run }: { run: Run }) {
  const length = run.streams.reduce((sum, s) => sum + s.length, 0)
  const more = run.streams.some((s) => s.whole !== undefined)
  return (
    <p class={`run-foot foot-${run.state}`}>
      <Sign state={run.state} />
      <span>{runWords(run)}</span>
      {length > 0 && <span class="number">{count(length, 'character')}</span>}
      {length > 0 && (run.state === 'cancelled' || run.state === 'failed' || run.state === 'dead') && <span>The text so far is kept.</span>}
      {more && <span>The whole text is longer than the log keeps.</span>}
    </p>
  )
}

/** A shape for each state, so that it is not told by colour alone. */
function Sign({ state }: { state: Run['state'] }) {
  return (
    <svg class="run-sign" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
      {state === 'running' && <circle cx="6" cy="6" r="3" />}
      {state === 'completed' && <path d="M2 6.5 5 9.5 10 3" fill="none" stroke-width="1.8" />}
      {state === 'cancelled' && <rect x="2" y="2" width="8" height="8" rx="1" />}
      {(state === 'failed' || state === 'dead') && <path d="M6 1.2 11 10.4H1Z" />}
    </svg>
  )
}
