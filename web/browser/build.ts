import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'

declare module 'vitest' {
  interface ProvidedContext {
    switchboard: string
  }
}

/** Builds the real server, of which each scenario starts its own, and forgets what earlier ones left. */
export default function build(project: TestProject): () => void {
  rmSync(join(import.meta.dirname, 'out/failed'), { recursive: true, force: true })
  const dir = mkdtempSync(join(tmpdir(), 'switchboard-browser-'))
  const binary = join(dir, 'switchboard')
  execFileSync('go', ['build', '-o', binary, './cmd/switchboard'], { cwd: join(import.meta.dirname, '../..'), stdio: 'inherit' })
  project.provide('switchboard', binary)
  return () => rmSync(dir, { recursive: true, force: true })
}
