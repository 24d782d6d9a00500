import type { Item } from '../model/conversation.ts'
import { ItemView } from './item-view.tsx'
import { Pure } from './memo.ts'

interface Props {
  readonly items: readonly Item[]
  readonly open: (file: string, line: number, length: number) => void
  /** The item behind which a mark tells how far was read elsewhere, if it is one of these. */
  readonly read: Item | undefined
  readonly mark: string
}

/** Items in one element, so that what goes through a whole conversation passes them in one step. */
export class GroupView extends Pure<Props> {
  override render() {
    const { items, open, read, mark } = this.props
    return (
      <div class="group">
        {items.flatMap((item) => {
          const view = <ItemView key={item.key} item={item} open={open} />
          return item === read ? [view, <ReadMark key="read" mark={mark} />] : view
        })}
      </div>
    )
  }
}

function ReadMark({ mark }: { mark: string }) {
  return (
    <p class="read" data-part="read">
      {mark}
    </p>
  )
}
