import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// The development server that `npm run dev` passes calls and sockets on to.
const server = process.env['SWITCHBOARD_URL'] ?? 'http://127.0.0.1:8080'

export default defineConfig({
  root: here('./chat'),
  resolve: { alias: { '@netra-systems/switchboard': here('../clients/ts/src/index.ts') } },
  server: {
    proxy: {
      '/ws': { target: server, ws: true },
      '/websocket': server,
      '/threads': server,
      '/dev': server,
    },
    fs: { allow: [here('..')] },
  },
  build: {
    outDir: here('./dist/chat'),
    emptyOutDir: true,
    target: 'es2022',
    // The page runs under a policy that has neither inline code nor data URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  test: { root: here('./chat'), include: ['test/**/*.test.ts'] },
})
