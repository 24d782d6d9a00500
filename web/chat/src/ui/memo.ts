import { Component, type ComponentChildren } from 'preact'

/** A component that is drawn again only if one of its properties is another value. */
export abstract class Pure<P extends object> extends Component<P> {
  override shouldComponentUpdate(next: Readonly<P>): boolean {
    for (const name in next) if (next[name] !== this.props[name]) return true
    return false
  }

  abstract override render(): ComponentChildren
}
