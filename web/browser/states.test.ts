import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { findings } from './axe.ts'
import { out, scenario } from './scenario.ts'
import { states, walk } from './states.ts'

// By npm run screenshots the pictures of the README go where it shows them.
const forReaders = process.env['SCREENSHOTS'] === 'docs'
const images = forReaders ? join(import.meta.dirname, '../../docs/images') : join(out, 'images')
const largest = 250_000 // bytes, of a picture that the README loads

const views = [
  { width: 1280, height: 800, colorScheme: 'light', image: 'demo-light.png' },
  { width: 1280, height: 800, colorScheme: 'dark', image: 'demo-dark.png' },
  { width: 390, height: 844, colorScheme: 'light', image: 'demo-phone.png' },
  { width: 390, height: 844, colorScheme: 'dark', image: undefined },
] as const

for (const { width, height, colorScheme, image } of views) {
  scenario(`axe finds nothing in any state at ${width}×${height}, ${colorScheme}; each has its picture`, { width, height, colorScheme, reducedMotion: 'reduce', limit: 90_000 }, async (stage) => {
    const demo = await stage.open()
    const { page } = demo
    const pictures = join(out, 'states')
    for (const dir of [pictures, images]) mkdirSync(dir, { recursive: true })
    const found = new Map<string, string>() // what, and in which states
    const seen: string[] = []
    await walk(stage, demo, async (state) => {
      seen.push(state)
      await page.screenshot({ path: join(pictures, `${width}-${colorScheme}-${state.replace(' ', '-')}.png`) })
      if (image !== undefined && state === 'caught up') {
        await page.screenshot({ path: join(images, image) })
        if (forReaders) expect(statSync(join(images, image)).size, `bytes of ${image}`).toBeLessThan(largest)
      }
      for (const finding of await findings(page)) found.set(finding, `${found.get(finding) ?? ''} ${state},`)
    })
    expect(seen).toEqual(states)
    expect([...found].map(([finding, where]) => `${where} ${finding}`)).toEqual([])
  })
}
