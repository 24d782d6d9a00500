import { useState } from 'preact/hooks'
import type { Device } from '../device.ts'

/** Where one asks: Enter asks, Shift and Enter begins a line. Escape is left to dialogs. */
export function Composer({ device, runs }: { device: Device; runs: boolean }) {
  const [text, setText] = useState('')
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
