import { defineConfig } from 'vitest/config'

const shared = {
  globalSetup: './build.ts',
  testTimeout: 120_000,
  // A scenario has its own server, so that those of one file may run side by side.
  maxConcurrency: 3,
}

// What measures the page's speed has the machine for itself; the rest shares it.
export default defineConfig({
  root: import.meta.dirname,
  test: {
    reporters: ['verbose'],
    maxWorkers: 2,
    projects: [
      { test: { ...shared, maxConcurrency: 1, name: 'speed', include: ['speed.test.ts'], sequence: { groupOrder: 0 } } },
      { test: { ...shared, name: 'page', include: ['*.test.ts'], exclude: ['speed.test.ts'], sequence: { groupOrder: 1 } } },
    ],
  },
})
