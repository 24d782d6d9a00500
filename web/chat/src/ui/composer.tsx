import type { RefObject } from 'preact'
import type { Device } from '../device.ts'

interface Props {
  readonly device: Device
  readonly runs: boolean
  /** What is written and not asked. */
  readonly text: string
  readonly setText: (text: string) => void
  readonly area: RefObject<HTMLTextAreaElement | null>
}

/** Where one asks: Enter asks, Shift and Enter begins a line. Escape is left to dialogs. */
export function Composer({ device, runs, text, setText, area }: Props) {
  const ask = () => {
    const question = text.trim()
    if (question === '') return
    device.ask(question)
    setText('')
  }
  return (
    <form
      class="composer"
      onSubmit={(e) => {
        e.preventDefault()
        ask()
      }}
    >
      <textarea
        ref={area}
        rows={1}
        aria-label="Ask about the documents"
        placeholder="Ask about the docs"
        value={text}
        onInput={(e) => {
          setText(e.currentTarget.value)
          device.type(e.currentTarget.value)
        }}
        onKeyDown={(e) => {
          if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return
          e.preventDefault()
          ask()
        }}
      />
      <button type="submit" class="primary">
        Ask
      </button>
      {/* Not disabled when nothing runs: that would take the focus away from who has just pressed it. */}
      <button type="button" class="stop" aria-disabled={!runs} onClick={() => runs && device.stop()}>
        Stop
      </button>
    </form>
  )
}
