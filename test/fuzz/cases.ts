/**
 * Runs cases of a target: uses valid files of a format, of which some are changed, as a user would. The outcome must be a
 * result, or an error that a person can act on.
 */
import { rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { MoraError } from '../../lib/common/errors.js'
import { randomStream } from '../../lib/common/random.js'
import { NativeError } from '../../lib/native/binary.js'
import { wrongWords } from '../faults/wrong-words.js'
import { quickFolder, writeFiles } from '../io/temporary.js'
import { beginPeak, peakBytes } from './peak-memory.js'
import type { Random } from './random.js'
import { pick } from './random.js'
import { Watchdog } from './watchdog.js'

/** Files by their names. */
export type Files = ReadonlyMap<string, string | Uint8Array>

export interface Target {
  readonly name: string
  /** Sets of whole files; a case changes one of them. */
  readonly samples: readonly Files[]
  /** The changed files. */
  mutate(random: Random, sample: Files): Files
  /** Uses the files of a folder as users do. */
  use(folder: string, sample: Files): Promise<void>
  /** Other files that an error may be about. */
  readonly alsoNamed?: readonly string[]
  /** Bytes in use, which must be the same after a case; by default 0. */
  bytesInUse?(): number
  /** Frees what all cases share. */
  dispose?(): void
}

const MAX_BYTES = 512 * 2 ** 20

/** Codes of native errors that are about a file; other errors mean that an argument was not checked before. */
const fileCodes = new Set(['malformed-file', 'missing-file', 'unreadable-file'])

export interface Outcome {
  cases: number
  accepted: number
  /**
   * One sentence for each case that went wrong, with the way to repeat it: `MORA_FUZZ=target:seed:index npm test -- test/fuzz`.
   */
  problems: string[]
}

/** @param indices which cases: each is a function of the seed, the target's name and its index */
export async function runCases(target: Target, seed: number, indices: Iterable<number>): Promise<Outcome> {
  const scratch = quickFolder()
  using watchdog = new Watchdog()
  const outcome: Outcome = { cases: 0, accepted: 0, problems: [] }
  try {
    for (const index of indices) {
      const name = `${target.name}:${seed}:${index}`
      watchdog.begin(name)
      const problem = await runCase(target, randomStream(seed, 'fuzz', target.name, index), join(scratch, 'case'))
      outcome.cases++
      if (problem === null) outcome.accepted++
      else if (problem !== 'refused') outcome.problems.push(`MORA_FUZZ=${name}: ${problem}`)
    }
  } finally {
    watchdog.begin('')
    rmSync(scratch, { recursive: true, force: true })
  }
  return outcome
}

/** Null where the files were accepted, `refused` where an error is as it should be, else what is wrong. */
async function runCase(target: Target, random: Random, folder: string): Promise<string | null> {
  const sample = pick(random, target.samples)
  const changed = target.mutate(random, sample)
  writeFiles(folder, new Map([...sample, ...changed]))
  const before = beginPeak()
  const inUse = target.bytesInUse?.() ?? 0
  const error = await target.use(folder, sample).then(
    () => null,
    (reason: unknown) => ({ reason }),
  )
  const growth = before === null ? 0 : peakBytes() - before
  const left = (target.bytesInUse?.() ?? 0) - inUse
  rmSync(folder, { recursive: true, force: true })
  const polluted = [Object.prototype, Array.prototype].flatMap((prototype) => Object.keys(prototype))
  if (polluted.length > 0) throw new Error(`every object has ${polluted.join(', ')} now`)
  if (growth > MAX_BYTES) return `${Math.round(growth / 2 ** 20)} MiB were used`
  if (left > 0) return `${left} bytes were not given back (${describe(error?.reason)})`
  const names = [...changed.keys(), ...(target.alsoNamed ?? [])]
  return error ? whyWrong(error.reason, names, folder) : null
}

function whyWrong(error: unknown, files: readonly string[], folder: string): string {
  if (!(error instanceof MoraError)) return `an internal error: ${describe(error)}`
  if (error instanceof NativeError && !fileCodes.has(error.code)) return `an error of the core: ${describe(error)}`
  const names = [...files.map((name) => basename(name)), folder]
  if (!names.some((name) => error.message.includes(name))) return `no file is named: ${describe(error)}`
  if (/\bundefined\b(?! values)/.test(error.message)) return `no sentence: ${describe(error)}`
  const [wrong] = wrongWords(error.message)
  if (wrong !== undefined) return `no words to show (${wrong}): ${describe(error)}`
  return 'refused'
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const place = error.stack
    ?.split('\n')
    .find((line) => /\/(lib|node_modules)\//.test(line))
    ?.trim()
  return `${error.name}: ${error.message.slice(0, 300)} ${place ?? ''}`
}
