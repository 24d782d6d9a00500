import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { out, scenario } from './scenario.ts'
import { pluggedOut } from './watch.ts'

// By npm run screenshots the pictures go where the README shows them.
const forReaders = process.env['SCREENSHOTS'] === 'docs'
const images = forReaders ? join(import.meta.dirname, '../../docs/images') : join(out, 'images')
const largest = 400_000 // bytes

// How fast the agent of dev writes, and when the plug is pulled. Readers are shown much text. Otherwise the answer, of
// 200 words, must grow still when the plug is in again, however long that takes: it outlasts the scenario's limit.
const { wordsPerSecond, pulledAt } = forReaders ? { wordsPerSecond: 18, pulledAt: 330 } : { wordsPerSecond: 3, pulledAt: 130 }

const views = [
  { width: 1280, height: 800, colorScheme: 'light', image: 'demo-light.png' },
  { width: 1280, height: 800, colorScheme: 'dark', image: 'demo-dark.png' },
  { width: 390, height: 844, colorScheme: 'light', image: 'demo-phone.png' },
] as const

for (const { width, height, colorScheme, image } of views) {
  scenario(`${image} shows an answer that goes on after a plug was pulled`, { width, height, colorScheme, wordsPerSecond }, async ({ open, watch }) => {
    watch.excuse(pluggedOut)
    const { laptop, phone, page } = await open()
    await laptop.show()
    await laptop.question('How do I stop an agent?')
    const run = await laptop.newRun()
    await phone.show()
    await phone.run(run).atLeast(pulledAt)
    await phone.unplug()
    await phone.notice.getByText(/Nothing lost/).waitFor({ timeout: 20_000 })
    await phone.run(run).state('running')
    mkdirSync(images, { recursive: true })
    await page.screenshot({ path: join(images, image) })
    expect(statSync(join(images, image)).size, `bytes of ${image}`).toBeLessThan(largest)
  })
}
