import type { Item } from '../model/conversation.ts'
import { said } from '../model/message.ts'
import { gapWords } from '../model/words.ts'
import { Pure } from './memo.ts'
import { RunView } from './run-view.tsx'

interface Props {
  readonly item: Item
  readonly open: (file: string, line: number, length: number) => void
}

/** One item of a conversation, which is drawn again only when it has become another object. */
export class ItemView extends Pure<Props> {
  override render() {
    const { item, open } = this.props
    switch (item.kind) {
      case 'question':
        return (
          <div class="item item-question">
            <h3 class="asked">{item.text}</h3>
          </div>
        )
      case 'run':
        return <RunView run={item.run} open={open} />
      case 'gap':
        return <p class="item item-gap">{gapWords(item.gap)}</p>
      case 'message':
        return (
          <div class="item item-message">
            <p>
              <code>{item.message.type}</code> {said(item.message.payload) || JSON.stringify(item.message.payload)}
            </p>
          </div>
        )
    }
  }
}
