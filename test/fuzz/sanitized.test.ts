/**
 * Ten times the cases of fuzz.test.ts, 20,000, with a native core that AddressSanitizer and UndefinedBehaviorSanitizer watch:
 * what reads out of bounds or is undefined ends the process. Part of `npm run test:long`.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { sanitized, sanitizedEnvironment } from '../sanitizers.js'
import { run } from '../simt/programs.js'
import { targets } from './targets/index.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const minutes = 60_000

describe.runIf(sanitized)('20,000 files, under sanitizers', () => {
  let environment: Record<string, string>
  beforeAll(async () => {
    environment = { ...(await sanitizedEnvironment('address')), MORA_FUZZ_TIMES: '10' }
  }, 60 * minutes)

  it.each(targets)('%s', { timeout: 60 * minutes }, async (name) => {
    const vitest = [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', 'test/fuzz/fuzz.test.ts']
    const { succeeds, text } = await run(process.execPath, [...vitest, '--project', 'cpu', '--root', root], {
      ...environment,
      MORA_FUZZ: name,
    })
    expect(succeeds, text).toBe(true)
    console.log(text.match(/^.* cases, .* of them used$/m)?.[0])
  })
})
