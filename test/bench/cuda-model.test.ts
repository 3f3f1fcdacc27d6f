/**
 * The predictions of bench/cuda-model.mjs, from a dozen traces of the emulator, in `npm run test:long`. launches.test.ts reads a
 * shorter trace.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksEmulated, lacksLong, needing } from '../needs.js'

const root = join(import.meta.dirname, '..', '..')
const temporary = useTemporaryFolder()

interface Predicted {
  blocks: { operator: string; rank: number; goal: number; adds: number }[]
  training: { method: string; tokensPerSecond: number }[]
  quantised: { format: string; method: string; weightBytes: number; peakBytes: number; launches: { bytes: number }[] }[]
}

needing(lacksEmulated, lacksLong).test(
  'predicts what adapters add to a block, within its goals, and that 8 GB cards train a model of 7B',
  { timeout: 300_000 },
  () => {
    const path = join(temporary(), 'predicted.json')
    const { status, stderr } = spawnSync(process.execPath, ['bench/cuda-model.mjs', '--json', path], {
      cwd: root,
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(0)
    const { blocks, training, quantised } = JSON.parse(readFileSync(path, 'utf8')) as Predicted
    expect(blocks.map(({ operator, rank }) => `${operator}:${rank}`)).toEqual([
      'rotation:8',
      'sharing:8',
      'rotation:256',
      'sharing:256',
    ])
    for (const { operator, adds, goal } of blocks) expect(adds, operator).toBeLessThan(goal)
    expect(training.map(({ tokensPerSecond }) => tokensPerSecond > 0)).toEqual([true, true])

    const small = quantised.filter(({ format }) => format !== 'bfloat16')
    expect(small.map(({ format, method }) => `${format} ${method}`)).toEqual(
      ['lora:8', 'rotation:8'].flatMap((method) => ['q4_0', 'q4_k', 'nf4'].map((format) => `${format} ${method}`)),
    )
    // 6,476,005,376 values of 32 blocks in 4.5 bits, and 262,144,000 of two tables in bfloat16.
    const weights = (6_476_005_376 * 4.5) / 8 + 2 * 262_144_000
    for (const { format, method, weightBytes, peakBytes, launches } of small) {
      expect(weightBytes / weights, `weights in ${format}`).toBeCloseTo(1, 3)
      expect(peakBytes, `${format} with ${method}`).toBeLessThan(6 * 2 ** 30)
      // Recomputing, the weights are read in 32 blocks three times at least.
      expect(launches.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThan(3 * weights)
    }
  },
)
