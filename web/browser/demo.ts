import type { Locator, Page } from 'playwright-core'
import { until } from './until.ts'

/** The page, by the roles and names that a person or a screen reader finds things by. */
export class Demo {
  readonly laptop: Device
  readonly phone: Device
  readonly wire: Locator

  constructor(readonly page: Page) {
    this.laptop = new Device(this, 'laptop')
    this.phone = new Device(this, 'phone')
    this.wire = page.getByRole('region', { name: 'Wire' })
  }

  get devices(): Device[] {
    return [this.laptop, this.phone]
  }

  /** Waits until both devices are live and have their conversation, which may be empty. */
  async live(): Promise<this> {
    for (const device of this.devices) {
      await device.status('live')
      await until(`the conversation of the ${device.name}`, async () => (await device.conversation.textContent()) !== '')
    }
    return this
  }

  /** Brings a device or the wire to the front where they are behind tabs. */
  async show(name: 'Laptop' | 'Phone' | 'Wire'): Promise<void> {
    if (await this.tab(name).isVisible()) await this.tab(name).click()
  }

  tab(name: 'Laptop' | 'Phone' | 'Wire'): Locator {
    return this.page.getByRole('tablist', { name: 'Devices' }).getByRole('tab', { name: new RegExp(`^${name}`) })
  }
}

export class Device {
  readonly root: Locator
  readonly log: Locator
  /** The same as log, also behind a tab. */
  readonly conversation: Locator
  readonly box: Locator
  readonly ask: Locator
  readonly stop: Locator
  readonly pull: Locator
  readonly reload: Locator
  readonly slow: Locator
  readonly earlier: Locator
  readonly state: Locator
  readonly notice: Locator
  /** What it tells of the other devices. */
  readonly others: Locator
  readonly typing: Locator
  /** The mark at how far was read elsewhere. */
  readonly read: Locator

  readonly page: Page

  constructor(
    private readonly demo: Demo,
    readonly name: 'laptop' | 'phone',
  ) {
    const { page } = demo
    this.page = page
    // By attribute: a device behind a tab is hidden from roles, and goes on all the same.
    this.root = page.locator(`section[data-device="${name}"]`)
    this.log = this.root.getByRole('log', { name: 'Conversation' })
    this.conversation = this.root.locator('[role="log"]')
    this.box = this.root.getByRole('textbox', { name: 'Ask about the documents' })
    const button = (label: string | RegExp) => this.root.getByRole('button', { name: label, exact: true })
    this.ask = button('Ask')
    this.stop = button('Stop')
    this.pull = button(/^(Pull the plug|Plug is out)/)
    this.reload = button('Reload')
    this.slow = button(/^(Slow down|Slowed)/)
    this.earlier = button('Earlier')
    this.state = this.root.locator('[data-part="state"]')
    this.notice = this.root.locator('[data-part="notice"]')
    this.others = this.root.locator('[data-part="others"]')
    this.typing = this.root.locator('[data-part="typing"]')
    this.read = this.root.locator('[data-part="read"]')
  }

  async status(want: 'live' | 'connecting' | 'restoring' | 'waiting' | 'closed', limit = 30_000): Promise<void> {
    await this.page.locator(`section[data-device="${this.name}"][data-status="${want}"]`).waitFor({ state: 'attached', timeout: limit })
  }

  /**
   * Waits until the device has left the state live and has told that its plug is out; returns
   * what it told then of the others. To be called before the plug is pulled: it is out for 4 s,
   * in which a busy machine may not come to ask, so that the page itself looks.
   */
  async pulledOut(): Promise<string> {
    return this.root.evaluate(seenPulled)
  }

  /** Pulls the plug, by a click unless said otherwise, and waits until it is out, as pulledOut does. */
  async unplug(pull: () => Promise<void> = () => this.pull.click()): Promise<string> {
    const [others] = await Promise.all([this.pulledOut(), pull()])
    return others
  }

  async show(): Promise<void> {
    await this.demo.show(this.name === 'laptop' ? 'Laptop' : 'Phone')
  }

  async question(text: string): Promise<void> {
    await this.box.fill(text)
    await this.ask.click()
  }

  /** Waits until it tells so of the other devices. */
  async tellsOthers(want: string | RegExp, limit = 30_000): Promise<void> {
    await until(`the ${this.name} to tell of the others: ${String(want)}`, async () => {
      const told = ((await this.others.textContent()) ?? '').replace(/\s+/g, ' ').trim()
      return typeof want === 'string' ? told === want : want.test(told)
    }, limit)
  }

  run(id: string): Run {
    return new Run(this, id)
  }

  /** The id of the newest run on this device that is none of those known. */
  async newRun(known: string[] = []): Promise<string> {
    return until(`a run on the ${this.name}`, async () => {
      const ids = await this.root.locator('article[data-run]').evaluateAll((all) => all.map((one) => (one as HTMLElement).dataset.run ?? ''))
      return ids.filter((id) => id !== '' && !known.includes(id)).at(-1)
    })
  }
}

/** Runs in the page, of which root is a device. */
function seenPulled(root: HTMLElement): Promise<string> {
  return new Promise((resolve, reject) => {
    let others: string | undefined
    let told = false
    const end = performance.now() + 15_000
    const look = () => {
      if (root.dataset['status'] !== 'live') others ??= root.querySelector('[data-part="others"]')?.textContent ?? ''
      told ||= [...root.querySelectorAll('button')].some((button) => /^Plug is out, \d+ s$/.test(button.textContent ?? ''))
      if (others !== undefined && told) resolve(others.trim())
      else if (performance.now() > end) reject(new Error(`waited 15 s for the plug of the ${root.dataset['device']} to be out`))
      else requestAnimationFrame(look)
    }
    look()
  })
}

export class Run {
  readonly article: Locator
  readonly answer: Locator

  constructor(
    readonly device: Device,
    readonly id: string,
  ) {
    this.article = device.root.locator(`article[data-run="${id}"]`)
    this.answer = this.article.locator(`[data-stream="${id}/answer"]`)
  }

  async state(want: 'running' | 'completed' | 'cancelled' | 'failed' | 'dead', limit = 30_000): Promise<void> {
    await this.device.root.locator(`article[data-run="${this.id}"][data-run-state="${want}"]`).waitFor({ state: 'attached', timeout: limit })
  }

  async text(): Promise<string> {
    return (await this.answer.textContent()) ?? ''
  }

  /** How many code points of the answer the page says it shows. */
  async length(): Promise<number> {
    if ((await this.answer.count()) === 0) return 0
    return Number(await this.answer.getAttribute('data-length'))
  }

  async atLeast(characters: number, limit = 30_000): Promise<number> {
    return until(`${characters} characters of ${this.id} on the ${this.device.name}`, async () => {
      const length = await this.length()
      return length >= characters && length
    }, limit)
  }
}
