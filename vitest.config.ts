import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  // The examples import the package by its name.
  resolve: { alias: { 'node-mora': fileURLToPath(new URL('lib/index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    // The addon owns threads and devices: each test file gets a process of its own, and few at a time.
    pool: 'forks',
    maxWorkers: 2,
    // Teams of several processes share the cores: waiting threads must not spin.
    env: { OMP_WAIT_POLICY: 'passive' },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
