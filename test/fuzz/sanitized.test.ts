/**
 * Ten times the cases of fuzz.test.ts, 20,000, with a native core that AddressSanitizer and UndefinedBehaviorSanitizer watch:
 * what reads out of bounds or is undefined ends the process. Part of `npm run test:long`.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { run } from '../simt/programs.js'
import { targets } from './targets/index.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const minutes = 60_000

describe.runIf(process.env.MORA_TEST_LONG && process.platform === 'linux')('20,000 files, under sanitizers', () => {
  let environment: Record<string, string>
  beforeAll(async () => {
    const build = [
      join(root, 'scripts', 'build-native.mjs'),
      '--sanitize=address,undefined',
      '--if-needed',
      '--required',
    ]
    const built = await run(process.execPath, build, { MORA_BUILD_CUDA: 'OFF' })
    expect(built.succeeds, built.text).toBe(true)
    environment = {
      MORA_BUILD: 'build-asan',
      MORA_FUZZ_TIMES: '10',
      // What Node.js never frees is no leak of ours, and a large quarantine looks like growth.
      ASAN_OPTIONS: 'detect_leaks=0:quarantine_size_mb=4',
      LD_PRELOAD: execFileSync('c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim(),
    }
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
