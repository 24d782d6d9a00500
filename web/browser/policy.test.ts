import { expect } from 'vitest'
import { scenario } from './scenario.ts'
import { until } from './until.ts'

scenario('every answer of the page has a strict policy, without exceptions', {}, async ({ open, context, server, watch }) => {
  const policies: [string, string][] = []
  context.on('response', (response) => {
    const { pathname } = new URL(response.url())
    if (!pathname.startsWith('/dev/')) policies.push([pathname, response.headers()['content-security-policy'] ?? 'none'])
  })
  const { page } = await open()
  expect(policies.map(([path]) => path)).toContain('/')
  expect(policies.length, 'the page, a script and a style sheet').toBeGreaterThanOrEqual(3)
  for (const [path, policy] of policies) {
    expect(policy, path).toContain("default-src 'none'")
    expect(policy, path).toContain("script-src 'self'")
    expect(policy, path).toContain("require-trusted-types-for 'script'")
    expect(policy, path).toContain("frame-ancestors 'none'")
    expect(policy, path).not.toMatch(/unsafe-|\*|https?:|strict-dynamic/)
  }
  const { headers } = await fetch(server.url)
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('referrer-policy')).toMatch(/no-referrer|same-origin/)
  expect(headers.get('cross-origin-opener-policy')).toBe('same-origin')
  // The policy is in force: what it forbids does not happen, and the server hears of it.
  watch.excuse({ pattern: /TrustedHTML|trusted-types|TrustedTypes/i, why: 'the next line breaks the policy' })
  expect(await page.evaluate(() => ((document.body.innerHTML as unknown) = document.body.innerHTML, 'let in')).catch((error: Error) => error.message)).toContain('TrustedHTML')
  expect(await until('the report', () => server.warnings().find((line) => line.includes('trusted-types')))).toBeTruthy()
})
