import type { Frame } from '@netra-systems/switchboard'
import { whyWords, type Row } from '../model/wire.ts'
import { fields } from '../model/message.ts'
import { count } from '../model/words.ts'
import { Pure } from './memo.ts'

interface Props {
  readonly row: Row
  readonly open: boolean
  readonly toggle: (id: number) => void
}

const mostCharacters = 6000
const mostFrames = 5

/** One row of the inspector, and its frames as JSON if it is open. */
export class WireRow extends Pure<Props> {
  override render() {
    const { row, open, toggle } = this.props
    const { id, device, direction, offset, type, why, bytes } = row
    return (
      <>
        <tr class={`wire-row why-${why}`} data-why={why} data-direction={direction} data-from={device}>
          <td class="wire-direction">
            <span aria-hidden="true">{direction === 'in' ? '↓' : '↑'}</span>
            <span class="unseen">{direction}</span>
          </td>
          <td>{device}</td>
          <td class="wire-offset">{offset ?? '–'}</td>
          <td class="wire-type">
            <button type="button" aria-expanded={open} title={count(bytes, 'byte')} onClick={() => toggle(id)}>
              {type}
              {row.count > 1 && ` ×${row.count}`}
            </button>
          </td>
          <td class="wire-why">{whyWords(row)}</td>
        </tr>
        {open && (
          <tr class="wire-json" ref={show}>
            <td colSpan={5}>
              <pre tabIndex={0} role="group" aria-label={`Frames of ${type}`}>
                {row.frames.slice(-mostFrames).map(json).join('\n')}
              </pre>
            </td>
          </tr>
        )}
      </>
    )
  }
}

/** Brings a row into view when it opens. */
function show(row: HTMLElement | null): void {
  row?.scrollIntoView({ block: 'nearest' })
}

/** A frame as text. The token of a session is a secret, also on a screen. */
function json(frame: Frame): string {
  const { session, ...rest } = fields(frame.envelope.payload)
  const envelope = session === undefined ? frame.envelope : { ...frame.envelope, payload: { ...rest, session: { ...fields(session), token: '(secret)' } } }
  const text = JSON.stringify(envelope, null, 2)
  if (text.length <= mostCharacters) return text
  return `${text.slice(0, mostCharacters)}\n… and ${count(text.length - mostCharacters, 'more character')}`
}
