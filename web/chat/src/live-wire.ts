import type { Frame } from '@netra-systems/switchboard'
import { Source } from './frames.ts'
import { Wire } from './model/wire.ts'

/** The frames of all devices, as something that is drawn when it has changed. */
export class LiveWire extends Source {
  readonly wire = new Wire()

  readonly add = (device: string, frame: Frame): void => {
    this.wire.add(device, frame)
    this.changed()
  }
}
