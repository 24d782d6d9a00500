import { useRef } from 'preact/hooks'
import { between, goesOn, pieces, sameBlock, sourceOf, split, unitOf, type Block, type Line, type Piece } from '../model/blocks.ts'
import type { Stream } from '../model/run.ts'
import { Pure } from './memo.ts'

interface Props {
  readonly stream: Stream
  readonly grows: boolean
  readonly open: (file: string, line: number, length: number) => void
}

interface Span {
  readonly from: number
  readonly to: number
}

/** An answer as far as it has come. Only its last block is drawn again when it grows. */
export function Answer({ stream: { id, text, length, mark }, grows, open }: Props) {
  const known = useRef<{ text: string; blocks: readonly Block[] }>({ text: '', blocks: [] })
  if (known.current.text !== text) {
    const longer = text.startsWith(known.current.text)
    known.current = { text, blocks: split(text, longer ? known.current.blocks : []) }
  }
  const { blocks } = known.current
  const span = mark && { from: unitOf(text, mark.from), to: unitOf(text, mark.to) }
  return (
    <div class={`answer ${grows ? 'grows' : ''}`} data-stream={id} data-length={length}>
      {blocks.map((block, i) => {
        const end = blocks[i + 1]?.start ?? text.length
        const touched = span !== undefined && span.to >= block.start && span.from <= end
        const quoted = block.kind === 'source' && blocks[i - 1]?.kind === 'quote' ? blocks[i - 1]!.lines.length : 1
        return (
          <BlockView
            key={block.start}
            block={block}
            quoted={quoted}
            from={touched ? span.from : -1}
            to={touched ? span.to : -1}
            open={open}
          />
        )
      })}
    </div>
  )
}

interface BlockProps {
  readonly block: Block
  /** How many lines the quote has of which this is the source. */
  readonly quoted: number
  /** What came after an interruption, in UTF-16 units of the answer; -1 if nothing here did. */
  readonly from: number
  readonly to: number
  readonly open: (file: string, line: number, length: number) => void
}

class BlockView extends Pure<BlockProps> {
  override shouldComponentUpdate(next: BlockProps): boolean {
    const { block, quoted, from, to, open } = this.props
    return !sameBlock(block, next.block) || quoted !== next.quoted || from !== next.from || to !== next.to || open !== next.open
  }

  override render() {
    const { block, quoted, from, to, open } = this.props
    const span = from < 0 ? undefined : { from, to }
    const source = sourceOf(block)
    if (block.kind === 'source' && source) {
      return (
        <p class="source">
          <button type="button" aria-haspopup="dialog" onClick={() => open(source.file, source.line, quoted)}>
            {`${source.file}:${source.line}`}
          </button>
          {span && span.from >= block.start && <Tick />}
        </p>
      )
    }
    const lines = block.lines.map((line, i) => <LineView key={line.start} line={line} next={block.lines[i + 1]} span={span} />)
    if (block.kind === 'quote') return <blockquote>{lines}</blockquote>
    return <p class={block.kind}>{lines}</p>
  }
}

function LineView({ line, next, span }: { line: Line; next: Line | undefined; span: Span | undefined }) {
  const end = line.start + line.text.length
  if (line.form === 'fence' || line.form === 'dashes') return <span class="sign">{line.text + (next ? '\n' : '')}</span>
  const rest = next && (goesOn(line, next) ? <span class="goes-on">{'\n'}</span> : '\n')
  const all: readonly Piece[] = line.form === 'code' ? [{ kind: 'code', text: line.text }] : pieces(line.text, line.form === 'row')
  if (span === undefined || span.to < line.start || span.from > end) return (
      <>
        <Pieces all={all} />
        {rest}
      </>
    )
  const from = Math.max(span.from - line.start, 0)
  const to = Math.min(span.to - line.start, line.text.length)
  return (
    <>
      <Pieces all={between(all, 0, from)} />
      {span.from >= line.start && <Tick />}
      {to > from && (
        <mark class="caught-up">
          <Pieces all={between(all, from, to)} />
        </mark>
      )}
      <Pieces all={between(all, to, line.text.length)} />
      {rest}
    </>
  )
}

/** Stands in the margin beside the line where a text went on. */
function Tick() {
  return <span class="tick" aria-hidden="true" />
}

function Pieces({ all }: { all: readonly Piece[] }) {
  return (
    <>
      {all.map(({ kind, text }, i) => {
        if (kind === 'code') return <code key={i}>{text}</code>
        if (kind === 'strong') return <strong key={i}>{text}</strong>
        if (kind === 'text') return text
        return (
          <span key={i} class={kind}>
            {text}
          </span>
        )
      })}
    </>
  )
}
