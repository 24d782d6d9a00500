import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Device, Passage } from '../device.ts'
import { count } from '../model/words.ts'

/** A passage of a document that somebody wants to see: so many lines from a line on. */
export interface Reading {
  readonly device: Device
  readonly file: string
  readonly line: number
  readonly length: number
}

const around = 12
const mostAround = 200

/** Shows a quoted passage where it stands in its document. */
export function PassageDialog({ reading: { device, file, line, length }, close }: { reading: Reading; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [passage, setPassage] = useState<Passage>()
  const [trouble, setTrouble] = useState('')
  // Before the next key is pressed, or the focus would be taken back from where that has led.
  useLayoutEffect(() => {
    const opener = document.activeElement
    dialog.current?.showModal()
    return () => {
      if (opener instanceof HTMLElement) opener.focus()
    }
  }, [])
  useEffect(() => {
    device.passage(file, line, Math.min(around + length, mostAround)).then(setPassage, (error: Error) => setTrouble(error.message))
  }, [device, file, line, length])
  useEffect(() => {
    dialog.current?.querySelector('.quoted')?.scrollIntoView({ block: 'center' })
  }, [passage])
  const end = () => dialog.current?.close()
  return (
    <dialog class="passage" ref={dialog} aria-labelledby="passage-file" onClose={close} onClick={(e) => e.target === dialog.current && end()}>
      <header>
        <h2 id="passage-file">{file}</h2>
        <p>
          {length === 1 ? `line ${line}` : `lines ${line} to ${line + length - 1}, ${count(length, 'line')}`}
        </p>
        <button type="button" onClick={end}>
          Close
        </button>
      </header>
      <div class="passage-text" tabIndex={0} role="region" aria-label="The passage and what stands around it">
        {trouble !== '' && <p class="trouble">It cannot be read: {trouble}.</p>}
        {passage === undefined && trouble === '' && <p>Reading</p>}
        {passage?.lines.map((l) => {
          const quoted = l.line >= line && l.line < line + length
          const Tag = quoted ? 'mark' : 'span'
          return (
            <p key={l.line} class={quoted ? 'quoted' : ''}>
              <span class="line-number">{l.line}</span>
              <Tag>{l.text || ' '}</Tag>
            </p>
          )
        })}
      </div>
    </dialog>
  )
}
