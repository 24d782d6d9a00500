import type { Page } from 'playwright-core'

export interface Shown {
  at: number
  text: string
  length: number
}

/**
 * Runs in the page before anything else: notes each text that an answer had on a
 * device, and each announcement of a polite live region, at the moment they change.
 */
export function record(): void {
  const notes: { shown: Record<string, Shown[]>; said: Record<string, string[]> } = { shown: {}, said: {} }
  Object.assign(window, { notes })
  const lastSaid = new Map<Element, string>()
  const look = () => {
    for (const device of document.querySelectorAll<HTMLElement>('section[data-device]')) {
      for (const element of device.querySelectorAll<HTMLElement>('[data-stream]')) {
        const list = (notes.shown[`${device.dataset.device}:${element.dataset.stream}`] ??= [])
        const text = element.textContent ?? ''
        const length = Number(element.dataset.length)
        const last = list.at(-1)
        if (last?.text !== text || last.length !== length) list.push({ at: performance.now(), text, length })
      }
      for (const region of device.querySelectorAll('[aria-live="polite"], [role="status"]')) {
        const text = (region.textContent ?? '').trim()
        if (lastSaid.get(region) === text) continue
        lastSaid.set(region, text)
        if (text !== '') (notes.said[device.dataset.device ?? ''] ??= []).push(text)
      }
    }
  }
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['data-length'] })
}

/** Each text that a stream had on a device since the page was loaded, oldest first. */
export function shown(page: Page, device: string, stream: string): Promise<Shown[]> {
  return page.evaluate((key) => (window as unknown as { notes: { shown: Record<string, Shown[]> } }).notes.shown[key] ?? [], `${device}:${stream}`)
}

/** What a device's polite live regions said since the page was loaded. */
export function said(page: Page, device: string): Promise<string[]> {
  return page.evaluate((key) => (window as unknown as { notes: { said: Record<string, string[]> } }).notes.said[key] ?? [], device)
}
