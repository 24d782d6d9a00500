import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions } from 'playwright-core'
import { afterAll, expect, test } from 'vitest'
import { Api } from './api.ts'
import { Demo } from './demo.ts'
import { record } from './recorder.ts'
import { Server } from './server.ts'
import { Watch } from './watch.ts'

export const out = join(import.meta.dirname, 'out')

export interface Setting {
  /** The pace of the agent; 0: as fast as it can. */
  wordsPerSecond?: number
  width?: number
  height?: number
  colorScheme?: 'light' | 'dark'
  reducedMotion?: 'reduce' | 'no-preference'
  /** Records each text and each announcement that was shown. */
  record?: boolean
  limit?: number
}

export interface Stage {
  server: Server
  api: Api
  context: BrowserContext
  watch: Watch
  /** Opens the page and waits until both devices are live. */
  open(): Promise<Demo>
  /** Says what was measured, below the rule. */
  tell(line: string): void
}

let launched: Promise<Browser> | undefined

export function browser(): Promise<Browser> {
  return (launched ??= chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path)) ?? 'chromium',
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  }))
}

/**
 * A test in a real browser against a real server of its own. After it, nothing may
 * have complained: no console message of level error or warning, no report of the
 * content security policy, no failed request. When it fails, what was on the screen,
 * in the consoles and on the wire is kept below web/browser/out.
 */
export function scenario(rule: string, setting: Setting, play: (stage: Stage) => Promise<void>): void {
  afterAll(async () => {
    await (await launched)?.close()
    launched = undefined
  })
  test.concurrent(rule, { timeout: setting.limit ?? 120_000 }, async () => {
    const server = await Server.start(setting.wordsPerSecond ?? 40)
    const { width = 1280, height = 800, colorScheme = 'light', reducedMotion = 'no-preference' } = setting
    const options: BrowserContextOptions = { baseURL: server.url, viewport: { width, height }, colorScheme, reducedMotion }
    const context = await (await browser()).newContext(options)
    context.setDefaultTimeout(30_000) // how long a busy machine takes is not what is tested
    if (setting.record) await context.addInitScript(record)
    const watch = new Watch(context)
    const told: string[] = []
    const stage: Stage = {
      server,
      api: new Api(server.url, server.key),
      context,
      watch,
      open: async () => {
        const page = await context.newPage()
        await page.goto('/')
        return new Demo(page).live()
      },
      tell: (line) => told.push(line),
    }
    try {
      await play(stage)
      expect(watch.inexcusable(), 'what the browser complained of').toEqual([])
      expect(watch.inexcusable(server.warnings()), 'what the server warned of').toEqual([])
    } catch (error) {
      const kept = await keep(rule, stage).catch((second: unknown) => `nothing: ${String(second)}`)
      throw Object.assign(error as Error, { message: `${(error as Error).message}\n\nKept: ${kept}` })
    } finally {
      // In one piece: the output of scenarios side by side is not told apart.
      if (told.length > 0) console.log([rule, ...told].join('\n  '))
      await context.close()
      await server.stop()
    }
  })
}

/** Writes down what a failed scenario left, and returns where. */
async function keep(rule: string, { context, watch, server }: Stage): Promise<string> {
  const dir = join(out, 'failed', rule.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 80))
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'console.txt'), watch.console.join('\n'))
  writeFileSync(join(dir, 'server.txt'), server.log)
  writeFileSync(
    join(dir, 'wire.txt'),
    watch.wire.map((row) => `${row.at.toFixed(0)} ${row.device} ${row.direction === 'in' ? '↓' : '↑'} ${JSON.stringify(row.message)}`).join('\n'),
  )
  for (const [n, page] of context.pages().entries()) {
    await page.screenshot({ path: join(dir, `page-${n + 1}.png`), timeout: 5000 })
    writeFileSync(join(dir, `page-${n + 1}.html`), await page.content())
  }
  return dir
}
