import { Component, type ComponentChildren } from 'preact'

/** A component that is drawn again only if one of its properties is another value. */
export abstract class Pure<P extends object> extends Component<P> {
  override shouldComponentUpdate(next: Readonly<P>): boolean {
    const before = this.props as Record<string, unknown>
    return Object.entries(next).some(([name, value]) => before[name] !== value)
  }

  abstract override render(): ComponentChildren
}
