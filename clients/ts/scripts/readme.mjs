// Checks the types of the code in README.md: node scripts/readme.mjs src/index.ts
// The argument is what the package's name stands for: its source, or what was built.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = resolve(root, process.argv[2] ?? 'src/index.ts')
const blocks = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)]
if (blocks.length === 0) throw new Error('README.md has no code')

const dir = mkdtempSync(join(tmpdir(), 'readme-'))
const files = blocks.map(([, code], i) => {
  const file = join(dir, `block${i + 1}.ts`)
  writeFileSync(file, code + '\nexport {}\n')
  return file
})
const program = ts.createProgram(files, {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
  paths: { '@netra-systems/switchboard': [entry] },
  types: [],
  strict: true,
  noEmit: true,
})
const faults = ts.getPreEmitDiagnostics(program)
if (faults.length > 0) {
  console.error(ts.formatDiagnostics(faults, { getCanonicalFileName: (f) => f, getCurrentDirectory: () => dir, getNewLine: () => '\n' }))
  process.exitCode = 1
}
rmSync(dir, { recursive: true })
