import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'vitest'

test('the code in README.md is what the types say', () => {
  const script = fileURLToPath(new URL('../scripts/readme.mjs', import.meta.url))
  execFileSync(process.execPath, [script, 'src/index.ts'], { stdio: 'inherit' })
}, 30_000)
