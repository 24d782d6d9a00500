import { aloud, completeUpTo } from './model/sentences.ts'

const pauseMs = 1500

/**
 * Tells a listener what happens in sentences, a few at a time: a live region that changed
 * with each word could not be followed.
 */
export class Speaker {
  /** A device is silent while another one of the same page is in use: both would say the same. */
  silent = false
  readonly #say: (text: string) => void
  readonly #said = new Map<string, number>() // how much of each text
  #waiting: string[] = []
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(say: (text: string) => void) {
    this.#say = say
  }

  /** Takes a text as far as it has come. */
  text(id: string, text: string, ended: boolean): void {
    const said = this.#said.get(id) ?? 0
    const end = ended ? text.length : completeUpTo(text, said)
    if (end <= said) return
    this.#said.set(id, end)
    this.say(aloud(text.slice(said, end)))
  }

  /** Takes a text that was there before this device listened: the sentences in it are not said. */
  passOver(id: string, text: string, ended: boolean): void {
    const end = ended ? text.length : completeUpTo(text, 0)
    this.#said.set(id, Math.max(end, this.#said.get(id) ?? 0))
  }

  say(words: string): void {
    if (this.silent || words === '') return
    this.#waiting.push(words)
    if (this.#timer === undefined) this.#speak()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#waiting = []
    this.#said.clear()
  }

  #speak(): void {
    this.#say(this.#waiting.join(' '))
    this.#waiting = []
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#waiting.length > 0) this.#speak()
    }, pauseMs)
  }
}
