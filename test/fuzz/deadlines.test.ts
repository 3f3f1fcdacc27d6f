/** Readers of untrusted files take time in proportion to the size, whatever the shape; no file of a megabyte takes long. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MoraError } from '../../lib/common/errors.js'
import { randomStream } from '../../lib/common/random.js'
import { wrongWords } from '../faults/wrong-words.js'
import { quickFolder } from '../io/temporary.js'
import { allShapes } from './shapes/index.js'
import { type Shape, writeShape } from './shapes/shape.js'
import { Watchdog } from './watchdog.js'

/** The number of shapes that are tried in every run, without megabytes; `MORA_TEST_SEED` draws others. */
const SHARE = 1 / 8
const LEAST_BYTES = 2 ** 13
const MOST_BYTES = 2 ** 20 - 1
/** Four times as much may take this many times as long: about n log n, plus noise. */
const MOST_RATIO = 6
/** Microseconds of CPU time that stand out from noise. */
const TELLING = 40_000
/** A busy machine sometimes makes one measurement longer; quadratic code takes 16 times as long in all. */
const ATTEMPTS = 6

const scratch = quickFolder()
const watchdog = new Watchdog()
beforeAll(() => watchdog.begin(''))
afterAll(() => {
  watchdog[Symbol.dispose]()
  rmSync(scratch, { recursive: true, force: true })
})

/** CPU time of this process in microseconds. */
async function costOf(shape: Shape, folder: string): Promise<number> {
  watchdog.begin(`${shape.name} in ${folder}`)
  const before = process.cpuUsage()
  const refusal = await shape.read(folder).then(
    () => null,
    (error: unknown) => error,
  )
  const { user, system } = process.cpuUsage(before)
  watchdog.begin('')
  if (refusal !== null) {
    if (!(refusal instanceof MoraError)) throw refusal
    expect(wrongWords(refusal.message)).toEqual([])
  }
  return user + system
}

function filled(shape: Shape, bytes: number): string {
  const folder = join(scratch, String(bytes))
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  writeShape(folder, shape, bytes)
  return folder
}

/** The ratio of times for four times as much, or an upper bound if the time is too short to measure. */
async function growth(shape: Shape): Promise<number> {
  const most = Math.min(MOST_BYTES, shape.most ?? MOST_BYTES)
  let bytes = LEAST_BYTES
  while (bytes * 8 <= most && (await costOf(shape, filled(shape, bytes))) < TELLING) bytes *= 2
  let ratio = await ratioAt(shape, bytes)
  // Quadratic code is quadratic at any size; a single step, as when the garbage collector begins to work, is tolerated.
  while (ratio > MOST_RATIO && bytes * 8 <= most) {
    bytes *= 2
    ratio = await ratioAt(shape, bytes)
  }
  return ratio > MOST_RATIO ? Math.min(ratio, await ratioAt(shape, bytes / 2)) : ratio
}

async function ratioAt(shape: Shape, bytes: number): Promise<number> {
  const [small, large] = [filled(shape, bytes), filled(shape, 4 * bytes)]
  let [shorter, longer] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    shorter = Math.min(shorter, await costOf(shape, small))
    longer = Math.min(longer, await costOf(shape, large))
    if (longer <= MOST_RATIO * shorter || longer < TELLING) break
  }
  return longer < TELLING ? 0 : longer / shorter
}

const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), 'deadlines')
const isLong = process.env.MORA_TEST_LONG !== undefined
const chosen = allShapes.filter(({ name }) => {
  const isDrawn = random.uniform() < SHARE
  const only = process.env.MORA_SHAPES
  return only === undefined ? isLong || isDrawn : name.includes(only)
})

describe('a reader takes at most six times as long for four times as much', { timeout: 600_000 }, () => {
  test.each(chosen.map((shape) => [shape.name, shape] as const))('%s', async (_, shape) => {
    expect(await growth(shape)).toBeLessThanOrEqual(MOST_RATIO)
    if (isLong) await costOf(shape, filled(shape, MOST_BYTES))
  })
})
