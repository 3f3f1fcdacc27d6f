/**
 * Ten times the cases of fuzz.test.ts, 20,000, with a native core under AddressSanitizer and UndefinedBehaviorSanitizer: a read
 * out of bounds or undefined behaviour ends the process. Part of `npm run test:long`.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect } from 'vitest'
import { needing } from '../needs.js'
import { lacksSanitizers, sanitizedEnvironment } from '../sanitizers.js'
import { run } from '../simt/programs.js'
import { targets } from './targets/index.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const minutes = 60_000

needing(lacksSanitizers).describe('20,000 files, under sanitizers', () => {
  let environment: Record<string, string>
  beforeAll(async () => {
    environment = { ...(await sanitizedEnvironment('address')), MORA_FUZZ_TIMES: '10' }
  }, 60 * minutes)

  for (const [name, , , lacks = null] of targets)
    needing(lacks).it(name, { timeout: 60 * minutes }, async () => {
      const vitest = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', 'test/fuzz/fuzz.test.ts']
      const { succeeds, text } = await run(process.execPath, [...vitest, '--project', 'cpu*', '--root', root], {
        ...environment,
        MORA_FUZZ: name,
      })
      expect(succeeds, text).toBe(true)
      console.log(text.match(/^.* cases, .* of them used$/m)?.[0])
    })
})
