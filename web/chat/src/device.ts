import { Switchboard, type ConnectionState, type Frame, type PresenceEvent, type ReadMarkerEvent, type Recovery, type TextEvent, type ThreadSnapshot } from '@netra-systems/switchboard'
import { Activity } from './activity.ts'
import { every, Source } from './frames.ts'
import { Link } from './link.ts'
import {
  addGap, addMessage, addPending, addSnapshot, addText, dropPending, endUnknownRuns, markStream, newConversation, newest, runOf, runsOf, type Conversation,
} from './model/conversation.ts'
import { said, string, fields } from './model/message.ts'
import { othersOf, type Other } from './model/others.ts'
import { readPosition } from './model/place.ts'
import type { Mark } from './model/run.ts'
import { duration, recoveryWords, reloadWords, runWords, wentOnWords } from './model/words.ts'
import { Speaker } from './speaker.ts'

const cutSeconds = 4
const slowSeconds = 15
const slowBytes = 2048
const markMs = 8000
const readMs = 500 // that what is read is told together
const markerMs = 1000 // in which the marker of before comes behind a snapshot

/** What a device shows. A view never changes: there is a new one after each event. */
export interface View {
  readonly connection: ConnectionState
  readonly conversation: Conversation
  /** Whether the conversation has come, so that an empty one is known to be empty. */
  readonly opened: boolean
  readonly notice?: Notice | undefined
  /** Times on the scale of Date.now(), 0 if there is none. */
  readonly unpluggedUntil: number
  readonly slowedUntil: number
  /** The plug was pulled, and the connection has not come back since. */
  readonly unplugged: boolean
  readonly spoken: string
  /** The user's other devices, as far as this one was told. */
  readonly others: readonly Other[]
  /** They are so now: nothing was missed since. */
  readonly othersKnown: boolean
  /** The user types on another device. */
  readonly typing: boolean
  readonly readMark?: ReadMark | undefined
}

/** How far the user has read elsewhere. */
export interface ReadMark {
  readonly position: string
  /** It may have been on this device. */
  readonly before: boolean
}

export interface Notice {
  readonly kind: 'fact' | 'trouble'
  readonly text: string
  readonly detail?: string
}

/** A part of a document around a line. */
export interface Passage {
  readonly file: string
  readonly lines: readonly { readonly line: number; readonly text: string }[]
}

export interface DeviceOptions {
  readonly name: string
  readonly user: string
  /** Lets this device in; without one it is the user by name, which development allows on one machine. */
  readonly ticket?: string | undefined
  readonly byTicket: boolean
  readonly onFrame: (device: string, frame: Frame) => void
}

/** One device of the user: a client with a socket of its own, and what it shows. */
export class Device extends Source {
  readonly name: string
  readonly user: string
  readonly speaker = new Speaker((spoken) => this.#set({ spoken }))
  readonly #options: DeviceOptions
  readonly #link = new Link()
  #client!: Switchboard
  #view: View
  #reload: { readonly at: number; frames: number } | undefined // until the conversation is here again
  #goesOn = new Map<string, number>() // texts of the snapshot that a reload got, by length
  #marks: ReturnType<typeof setTimeout> | undefined
  readonly #activity = new Activity(() => this.#acted())
  readonly #readSoon = every(readMs, () => void this.#read())
  #used = false // of the devices of this page it is the one that was used last
  #atEnd = false // the end of the conversation is what one sees
  #opened: { readonly at: number; readonly position: string } | undefined // the latest snapshot

  constructor(options: DeviceOptions) {
    super()
    this.#options = options
    this.name = options.name
    this.user = options.user
    this.#view = this.#nothing()
    this.#start()
  }

  get view(): View {
    return this.#view
  }

  ask(content: string): void {
    this.#set({ notice: undefined })
    this.#try(() => void this.#client.send({ type: 'user_message', payload: { content } }))
  }

  retry(id: string): void {
    this.#client.retry(id)
  }

  /** Takes a question back that was not sent. */
  takeBack(id: string): void {
    this.#client.discard(id)
    this.#converse((c) => dropPending(c, id))
  }

  /** The user does something on this device, and so on none of the others. */
  use(others: readonly Device[]): void {
    for (const other of others) other.#used = other === this
    this.#activity.input()
    this.#readSoon()
  }

  /** Whether somebody can see it. */
  hide(hidden: boolean): void {
    this.#activity.hide(hidden)
  }

  /** Whether the end of the conversation is what one sees of it. */
  sees(atEnd: boolean): void {
    this.#atEnd = atEnd
    this.#readSoon()
  }

  type(text: string): void {
    this.#client.typing({}, text.trim() !== '')
  }

  /** Stops what runs here, on every device. */
  stop(): void {
    for (const id of this.#view.conversation.live) this.#try(() => this.#client.stop({ runId: id }))
  }

  /** Cuts the socket, and keeps it cut for a while. */
  pull(): void {
    this.#try(async () => {
      await this.#link.cut(cutSeconds)
      const until = Date.now() + cutSeconds * 1000
      this.#set({ unpluggedUntil: until, unplugged: true, notice: undefined })
      setTimeout(() => {
        this.#set({ unpluggedUntil: 0 })
        // As on the browser's "online" event: the plug is in again, so that waiting is in vain.
        this.#client.connect()
      }, cutSeconds * 1000)
    })
  }

  /** Lets this device's link pass little for a while, or ends that. */
  slow(): void {
    const ends = this.#view.slowedUntil > Date.now()
    this.#try(async () => {
      await this.#link.pace(ends ? 0 : slowBytes, slowSeconds)
      this.#set({ slowedUntil: ends ? 0 : Date.now() + slowSeconds * 1000 })
    })
  }

  /** Throws away all that this device has in memory, as loading the page again does. */
  reload(): void {
    this.#client.close()
    this.speaker.stop()
    clearTimeout(this.#marks)
    const { unpluggedUntil, slowedUntil, unplugged } = this.#view
    this.#set({ ...this.#nothing(), unpluggedUntil, slowedUntil, unplugged })
    this.#reload = { at: performance.now(), frames: 0 }
    this.#start()
  }

  connect(): void {
    this.#client.connect()
  }

  /** Gets an earlier part of the conversation. */
  async earlier(): Promise<void> {
    const before = this.#view.conversation.earlier
    if (before === undefined) return
    await this.#try(async () => {
      const page = await this.#client.openThread({ threadId: '', before })
      this.#converse((c) => addSnapshot(c, page))
    })
  }

  async passage(file: string, line: number, around: number): Promise<Passage> {
    const { result } = await this.#client.request('read_passage', { file, line, around })
    return result as Passage
  }

  #nothing(): View {
    return {
      connection: { status: 'idle' },
      conversation: newConversation(`user/${this.user}`),
      opened: false,
      notice: undefined,
      unpluggedUntil: 0,
      slowedUntil: 0,
      unplugged: false,
      spoken: '',
      others: [],
      othersKnown: false,
      typing: false,
      readMark: undefined,
    }
  }

  #start(): void {
    const { name, ticket, byTicket, onFrame } = this.#options
    const who = byTicket ? '' : `user=${encodeURIComponent(this.user)}&`
    const client = new Switchboard({
      url: `/ws?${who}link=${this.#link.name}`,
      device: name,
      storage: sessionStorage,
      storageKey: `switchboard.${name}`,
      ...(ticket !== undefined && { ticket }),
      onFrame: (frame) => {
        if (this.#reload && frame.why !== 'control' && frame.direction === 'in') this.#reload.frames++
        onFrame(name, frame)
      },
    })
    this.#client = client
    // A client that was closed may still have something to say, about a conversation that is gone.
    const live = <T>(listener: (e: T) => void) => (e: T) => {
      if (this.#client === client) listener(e)
    }
    client.on('state', live((state) => this.#stateChanged(state)))
    client.on('message', live((m) => this.#converse((c) => addMessage(c, m))))
    client.on('text', live((e) => this.#textCame(e)))
    client.on('snapshot', live((s) => this.#snapshotCame(s)))
    client.on('gap', live((gap) => this.#converse((c) => addGap(c, gap))))
    client.on('recovered', live((r) => this.#recovered(r)))
    client.on('outbox', live(({ id, type, payload, status, error }) => {
      if (type !== 'user_message') return
      const text = said(payload)
      this.#converse((c) => addPending(c, { id, text, status, ...(error && { error: error.message, tooLarge: error.code === 'TOO_LARGE' }) }))
    }))
    client.on('presence', live((e) => this.#presenceCame(e)))
    client.on('typing', live(({ userId, topic, threadId, typing }) => {
      if (userId === this.user && topic === `user/${this.user}` && !threadId) this.#set({ typing })
    }))
    client.on('readMarker', live((e) => this.#markerCame(e)))
    client.on('error', live((error) => this.#set({ notice: { kind: 'trouble', text: error.message } })))
    client.presence(this.#activity.state)
    client.connect()
    void this.#try(async () => {
      await client.openThread({ threadId: '' })
    })
  }

  #stateChanged(connection: ConnectionState): void {
    const back = connection.status === 'live' || connection.status === 'restoring'
    this.#set({ connection, unplugged: this.#view.unplugged && !back, ...(!back && { othersKnown: false }) })
    if (connection.status === 'live') this.#readSoon()
    if (connection.status === 'waiting' && connection.attempt <= 1) this.speaker.say(this.#view.unplugged ? 'Unplugged.' : 'Disconnected.')
  }

  #textCame({ runId, streamId, text, length, start }: TextEvent): void {
    const went = this.#goesOn.get(streamId)
    if (went !== undefined) {
      this.#goesOn.delete(streamId)
      const { notice } = this.#view
      if (start === went && notice) this.#set({ notice: { ...notice, detail: wentOnWords(went) } })
    }
    this.#converse((c) => addText(c, runId, streamId, text, length))
    // Text that is there already comes before the snapshot, too.
    if (this.#view.opened) this.speaker.text(streamId, text, false)
  }

  #snapshotCame(snapshot: ThreadSnapshot): void {
    this.#converse((c) => endUnknownRuns(addSnapshot(c, snapshot), snapshot))
    this.#opened = { at: performance.now(), position: snapshot.position }
    this.#set({ opened: true })
    const { conversation } = this.#view
    const streams = runsOf(conversation).flatMap((run) => run.streams)
    for (const s of streams) this.speaker.passOver(s.id, s.text, s.state !== 'open')
    if (this.#reload === undefined) return
    const ms = performance.now() - this.#reload.at
    const { frames } = this.#reload
    this.#reload = undefined
    const characters = streams.reduce((sum, s) => sum + s.length, 0)
    this.#tell({ kind: 'fact', text: reloadWords(snapshot.messages.length, characters, frames, ms) })
    const growing = streams.filter((s) => s.state === 'open')
    this.#goesOn = new Map(growing.map((s) => [s.id, s.length]))
    this.#mark(growing.map((s) => ({ streamId: s.id, from: s.length, to: s.length })))
  }

  #recovered(r: Recovery): void {
    const away = `Away for ${duration(r.downMs)}.`
    const went = r.streams.at(-1)
    const detail = went === undefined ? away : `${away} ${wentOnWords(went.from)}`
    this.#tell({ kind: r.lost === 0 && !r.lostUnknown ? 'fact' : 'trouble', text: recoveryWords(r), detail })
    this.#mark(r.streams)
  }

  #presenceCame({ topic, users }: PresenceEvent): void {
    if (topic !== `user/${this.user}`) return
    const { others, othersKnown } = this.#view
    // Who has left while this device was away has left at a time that it does not know.
    const before = othersKnown ? others : []
    this.#set({ others: othersOf(before, users, this.#client.sessionId, Date.now()), othersKnown: true })
  }

  /** How far was read elsewhere: what is not beyond what was read here tells nothing new. */
  #markerCame({ threadId, position }: ReadMarkerEvent): void {
    if (threadId !== '') return
    const own = this.#ownMark
    if (own !== undefined && !isBeyond(position, own)) return
    const before = own === undefined && this.#opened !== undefined && !isBeyond(position, this.#opened.position) && performance.now() - this.#opened.at < markerMs
    this.#set({ readMark: { position, before } })
  }

  #acted(): void {
    this.#client.presence(this.#activity.state)
    this.#readSoon()
  }

  /** Tells how far the user has read, if the user is here and sees the end. */
  async #read(): Promise<void> {
    const { connection, opened, conversation } = this.#view
    const here = this.#used && this.#atEnd && this.#activity.state === 'active'
    if (!here || !opened || connection.status !== 'live') return
    const position = newest(conversation)
    const own = this.#ownMark
    if (position === undefined || (own !== undefined && !isBeyond(position, own))) return
    this.#ownMark = position
    try {
      await this.#client.markRead({ position })
    } catch {
      if (this.#ownMark !== position) return
      this.#ownMark = own // what is seen next tells it again
    }
  }

  /** How far was read here, as far as it was told; a page that is loaded again knows it, as its session does. */
  get #ownMark(): string | undefined {
    return sessionStorage.getItem(`switchboard.${this.name}.read`) ?? undefined
  }

  set #ownMark(position: string | undefined) {
    const key = `switchboard.${this.name}.read`
    if (position === undefined) sessionStorage.removeItem(key)
    else sessionStorage.setItem(key, position)
  }

  #tell(notice: Notice): void {
    this.#set({ notice })
    this.speaker.say(notice.text)
  }

  /** Marks for a moment where texts went on. */
  #mark(streams: readonly ({ streamId: string } & Mark)[]): void {
    const set = (of: (from: number, to: number) => Mark | undefined) =>
      this.#converse((c) => streams.reduce((next, { streamId, from, to }) => markStream(next, streamId, of(from, to)), c))
    clearTimeout(this.#marks)
    set((from, to) => ({ from, to }))
    this.#marks = setTimeout(() => set(() => undefined), markMs)
  }

  #converse(change: (c: Conversation) => Conversation): void {
    const before = this.#view.conversation
    const conversation = change(before)
    if (conversation === before) return
    this.#set({ conversation })
    this.#readSoon()
    this.#sayEnds(before, conversation)
  }

  /** Says how runs ended, behind what is left of their texts. */
  #sayEnds(before: Conversation, after: Conversation): void {
    for (const id of before.live) {
      const run = runOf(after, id)
      if (run === undefined || run.state === 'running') continue
      for (const s of run.streams) this.speaker.text(s.id, s.text, true)
      this.speaker.say(`${runWords(run)}.`)
    }
  }

  #set(change: Partial<View>): void {
    this.#view = { ...this.#view, ...change }
    this.changed()
  }

  async #try(act: () => unknown): Promise<void> {
    try {
      await act()
    } catch (error) {
      const { code, message } = fields(error)
      if (code === 'CLOSED') return // by a reload, or told by the state
      this.#set({ notice: { kind: 'trouble', text: error instanceof Error ? error.message : string(message) } })
    }
  }
}

/** Whether a position lies behind another one, or in another log. */
function isBeyond(a: string, b: string): boolean {
  const [x, y] = [readPosition(a), readPosition(b)]
  return x.epoch !== y.epoch || x.offset > y.offset
}
