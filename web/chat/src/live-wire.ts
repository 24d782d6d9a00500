import type { Frame } from '@netra-systems/switchboard'
import { every, Source } from './frames.ts'
import { Wire } from './model/wire.ts'

/** The frames of all devices, as something that is drawn a little later than what they bring. */
export class LiveWire extends Source {
  readonly wire = new Wire()

  constructor() {
    super((render) => every(80, render))
  }

  readonly add = (device: string, frame: Frame): void => {
    this.wire.add(device, frame)
    this.changed()
  }
}
