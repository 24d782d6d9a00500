/** What the model reads of a message. */
export interface Message {
  readonly type: string
  readonly payload?: unknown
  readonly message_id?: string
  readonly timestamp?: number
  readonly topic?: string
  /** Its place in its topic, if it has one. */
  readonly position?: string
  readonly user_id?: string
  readonly thread_id?: string
  readonly run_id?: string
  readonly agent_name?: string
}

type Fields = Readonly<Record<string, unknown>>

/** The members of an object, or none if it is something else. */
export function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

export function string(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

export function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** What a person wrote, in the two ways in which chat messages carry it. */
export function said(payload: unknown): string {
  const { content, text } = fields(payload)
  return string(content) || string(text)
}
