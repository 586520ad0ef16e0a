import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // no data: addresses, so that a strict content security policy holds
    chunkSizeWarningLimit: 1500, // maplibre is one megabyte and is needed at once
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // servers know .js; a worker as .mjs with an unknown content type would not start
        assetFileNames: (asset) => (asset.names[0]?.endsWith('.mjs') ? 'assets/[name]-[hash].js' : 'assets/[name]-[hash][extname]'),
      },
    },
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8600' } },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
