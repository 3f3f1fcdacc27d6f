/**
 * Tests that need optional things. If something is missing they are skipped, and their titles end with `[needs gloo]`.
 * scripts/test.mjs counts these by the part before a colon.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, type TestContext, test } from 'vitest'
import { binaryCandidates } from '../lib/native/binary.js'

/** The missing thing, or null. */
export type Lack = string | null

export const lack = (what: string, isHere: unknown): Lack => (isHere ? null : what)

export const lacksLong = lack('MORA_TEST_LONG=1', process.env.MORA_TEST_LONG)
export const lacksLinux = lack('Linux', process.platform === 'linux')
export const lacksX64 = lack('an x64 processor', process.arch === 'x64')
export const lacksCpu = lack('a CPU as the device', (process.env.MORA_TEST_DEVICE ?? 'cpu').startsWith('cpu'))
/** A process whose GPU is the emulator. */
export const lacksEmulation = lack('an emulated GPU', process.env.MORA_CUDA === 'emulated')
/** Time for what hardly depends on the device: the emulator takes ten times as long. */
export const lacksTimeToEmulate = lacksEmulation === null ? lacksLong : null
/** The emulator's variables, for processes that a test starts. */
export const lacksEmulated = lack(
  'the emulator of CUDA (npm run build emulated)',
  binaryCandidates().some((addon) => existsSync(join(dirname(addon), 'mora_cuda_emulated.so'))),
)
const dist = join(import.meta.dirname, '..', 'dist')
/** The library and the command as JavaScript. */
export const lacksBuild = lack(
  'dist (npm run build)',
  existsSync(join(dist, 'index.js')) && existsSync(join(dist, 'cli/main.js')),
)

interface Declaring {
  readonly describe: typeof describe.skip
  readonly test: typeof test.skip
  readonly it: typeof test.skip
}

/** Returns `describe`, `test` and `it`, which skip because of the first missing thing. */
export function needing(...lacks: readonly Lack[]): Declaring {
  const missing = lacks.find((one) => one !== null)
  if (missing === undefined) return { describe, test, it: test }
  const skipped = titled(test.skip, missing)
  return { describe: titled(describe.skip, missing), test: skipped, it: skipped }
}

/** The same function of titles, also of those for each case. */
function titled<Declare extends typeof test.skip | typeof describe.skip>(declare: Declare, missing: string): Declare {
  return new Proxy(declare, {
    apply: (_, self, [title, ...rest]) => Reflect.apply(declare, self, [`${title} [needs ${missing}]`, ...rest]),
    get: (_, key) =>
      key === 'each' || key === 'for'
        ? (...cases: unknown[]) => titled(Reflect.apply(declare[key], declare, cases), missing)
        : Reflect.get(declare, key),
  })
}

declare module 'vitest' {
  interface TaskMeta {
    needs?: string
  }
}

/** Skips a running test because of something that only it could find missing. */
export function skipFor(missing: string, { task, skip }: TestContext): never {
  task.meta.needs = missing
  return skip(`needs ${missing}`)
}
