/** vitest for one mutant: MORA_MUTATED is the file, MORA_MUTANT the file that is read in its place. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const { MORA_MUTATED: mutated, MORA_MUTANT: mutant = '' } = process.env

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  plugins: [
    {
      name: 'mutant',
      enforce: 'pre',
      load: (id) => (id === mutated ? readFileSync(mutant, 'utf8') : undefined),
    },
  ],
  test: {
    // One process: a mutant that loops ends with it.
    pool: 'threads',
    testTimeout: 20_000,
  },
})
