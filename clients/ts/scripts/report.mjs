// Keeps the type report, api/switchboard.d.ts: what the package promises to who compiles against
// it, so that a change of it is seen in review. "npm run report" writes it; with --check it
// fails if it is not what was built.
import { readFileSync, writeFileSync } from 'node:fs'

const built = readFileSync(new URL('../dist/index.d.ts', import.meta.url), 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n*$/, '\n')
const report = new URL('../api/switchboard.d.ts', import.meta.url)

if (!process.argv.includes('--check')) {
  writeFileSync(report, built)
} else if (readFileSync(report, 'utf8') !== built) {
  console.error('api/switchboard.d.ts is not what was built. If the change of the types is meant: npm run report')
  process.exit(1)
}
