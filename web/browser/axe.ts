import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type axe from 'axe-core'
import type { Page } from 'playwright-core'

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds on the page as it is. */
export async function findings(page: Page): Promise<string[]> {
  if (!(await page.evaluate(() => 'axe' in window))) {
    // The debugger's own evaluation: the page's policy lets no script in, and that is as it should be.
    const debug = await page.context().newCDPSession(page)
    await debug.send('Runtime.evaluate', { expression: `${source};0` })
    await debug.detach()
  }
  return page.evaluate(async () => {
    const { axe: tool } = window as unknown as { axe: typeof axe }
    const { violations } = await tool.run(document, {
      resultTypes: ['violations'],
      runOnly: ['wcag2a', 'wcag2aa', 'wcag2aaa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
      rules: { 'target-size': { enabled: true } },
    })
    // What is told by one of the colours of the palette besides ink has a contrast of AA; all other text has AAA.
    const tokens = getComputedStyle(document.documentElement)
    const accents = ['--quiet', '--signal', '--warn', '--bad'].map((token) => tokens.getPropertyValue(token).trim().toLowerCase())
    const byDesign = ({ any }: axe.NodeResult) => {
      const { fgColor, bgColor } = (any[0]?.data ?? {}) as { fgColor?: string; bgColor?: string }
      return accents.includes(fgColor ?? '') || accents.includes(bgColor ?? '')
    }
    return violations.flatMap(({ id, help, nodes }) =>
      nodes
        .filter((node) => id !== 'color-contrast-enhanced' || !byDesign(node))
        .map((node) => `${id}: ${help}: ${node.target.join(' ')}: ${(node.failureSummary ?? '').replace(/\s+/g, ' ').slice(0, 240)}`),
    )
  })
}
