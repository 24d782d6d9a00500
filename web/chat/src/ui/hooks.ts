import { useEffect, useLayoutEffect, useReducer, useRef, useState } from 'preact/hooks'
import type { Device, View } from '../device.ts'
import type { Source } from '../frames.ts'

/** Draws again when something has changed. */
export function useSource(...sources: readonly Source[]): void {
  const [, again] = useReducer((n: number) => n + 1, 0)
  useLayoutEffect(() => {
    const ends = sources.map((source) => source.subscribe(() => again(undefined)))
    again(undefined) // it may have changed before this was listening
    return () => ends.forEach((end) => end())
  }, sources)
}

export function useView(device: Device): View {
  useSource(device)
  return device.view
}

/** The time, four times a second until the last of some times has passed. */
export function useNow(...until: readonly number[]): number {
  const [now, setNow] = useState(Date.now)
  const last = Math.max(...until)
  useEffect(() => {
    setNow(Date.now())
    if (last <= Date.now()) return
    const timer = setInterval(() => {
      setNow(Date.now())
      if (Date.now() >= last) clearInterval(timer)
    }, 250)
    return () => clearInterval(timer)
  }, [last])
  return now
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const list = matchMedia(query)
    const look = () => setMatches(list.matches)
    look()
    list.addEventListener('change', look)
    return () => list.removeEventListener('change', look)
  }, [query])
  return matches
}

const nearPx = 48

/** Keeps a list that grows at its newest end, unless its reader has scrolled away from it, or holds it. */
export function useNewest(content: unknown, held = false) {
  const list = useRef<HTMLDivElement>(null)
  const follows = useRef(true)
  const holds = useRef(held)
  holds.current = held
  const [away, setAway] = useState(false)
  const toNewest = () => {
    const el = list.current
    if (el !== null && follows.current && !holds.current) el.scrollTop = el.scrollHeight
  }
  useLayoutEffect(toNewest, [content, held])
  useEffect(() => {
    const el = list.current
    if (el === null) return
    // What folds, and what the window's size does, moves the end as well.
    const sizes = new ResizeObserver(toNewest)
    sizes.observe(el)
    if (el.firstElementChild) sizes.observe(el.firstElementChild)
    return () => sizes.disconnect()
  }, [])
  const onScroll = () => {
    const el = list.current!
    follows.current = el.scrollHeight - el.scrollTop - el.clientHeight < nearPx
    setAway(!follows.current)
  }
  const follow = () => {
    follows.current = true
    setAway(false)
    toNewest()
  }
  return { list, away: away || held, onScroll, follow }
}
