import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { findings } from './axe.ts'
import { out, scenario } from './scenario.ts'
import { states, walk } from './states.ts'

const views = [
  { width: 1280, height: 800, colorScheme: 'light' },
  { width: 1280, height: 800, colorScheme: 'dark' },
  { width: 390, height: 844, colorScheme: 'light' },
  { width: 390, height: 844, colorScheme: 'dark' },
] as const

for (const { width, height, colorScheme } of views) {
  scenario(`axe finds nothing in any state at ${width}×${height}, ${colorScheme}`, { width, height, colorScheme, reducedMotion: 'reduce', limit: 180_000 }, async (stage) => {
    const demo = await stage.open()
    const { page } = demo
    const pictures = join(out, 'states')
    mkdirSync(pictures, { recursive: true })
    const found = new Map<string, string>() // what, and in which states
    const seen: string[] = []
    await walk(stage, demo, async (state) => {
      seen.push(state)
      await page.screenshot({ path: join(pictures, `${width}-${colorScheme}-${state.replace(' ', '-')}.png`) })
      for (const finding of await findings(page)) found.set(finding, `${found.get(finding) ?? ''} ${state},`)
    })
    expect(seen).toEqual(states)
    expect([...found].map(([finding, where]) => `${where} ${finding}`)).toEqual([])
  })
}
