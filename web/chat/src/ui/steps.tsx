import { useState } from 'preact/hooks'
import type { Step } from '../model/run.ts'
import { callWords, duration, resultWords, stepsWords } from '../model/words.ts'

/** What an agent did, open while it works and folded when it is done, unless the reader decides. */
export function Steps({ steps, done }: { steps: readonly Step[]; done: boolean }) {
  const [chosen, choose] = useState<boolean>()
  const open = chosen ?? !done
  return (
    <details class="steps" open={open}>
      <summary
        onClick={(e) => {
          e.preventDefault()
          choose(!open)
        }}
      >
        {stepsWords(steps)}
      </summary>
      {open && (
        <ol>
          {steps.map((step, i) => (
            <li key={i} class={`step step-${step.kind}`}>
              <StepView step={step} />
            </li>
          ))}
        </ol>
      )}
    </details>
  )
}

function StepView({ step }: { step: Step }) {
  switch (step.kind) {
    case 'thinking':
      return <p>{step.text}</p>
    case 'event':
      return (
        <p>
          {step.type} <code>{JSON.stringify(step.payload)}</code>
        </p>
      )
    case 'tool':
      return <Call step={step} />
  }
}

/** A call of a tool, with all that went in and came out behind it. */
function Call({ step }: { step: Extract<Step, { kind: 'tool' }> }) {
  const [open, setOpen] = useState(false)
  const { tool, parameters, state, result, ms } = step
  return (
    <details class="call" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>
        <code>{callWords(tool, parameters)}</code>
        <span class="number">{state === 'running' ? 'running' : `${ms === undefined ? '' : duration(ms)}`}</span>
        <span class="number">{state === 'failed' ? 'failed' : resultWords(result)}</span>
      </summary>
      {open && (
        <pre tabIndex={0} role="group" aria-label={`Parameters and result of ${tool}`}>
          {JSON.stringify({ parameters, [state === 'failed' ? 'error' : 'result']: result }, null, 2)}
        </pre>
      )}
    </details>
  )
}
