/**
 * Ranks with a GPU each, which NCCL connects: on the emulator, in processes of their own, by the stand-in of NCCL
 * (test/simt/stubs/nccl.cpp).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { binaryCandidates } from '../../lib/native-binary.js'
import { hasCommand, main, start, trainInto } from '../faults/command.js'
import { readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { byHand, runJob } from '../ranks/launchers.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'rank.mjs')
const standIn = join(dirname(binaryCandidates().find(existsSync) ?? ''), 'stub_nccl')
const launcher = byHand('gloo', '127.0.0.1')
const isHere = process.env.MORA_CUDA === 'emulated' && launcher.isHere && hasCommand && existsSync(standIn)

/** Ranks with these variables, and the stand-in of NCCL unless they say otherwise. */
const run = (size: number, argv: readonly string[], variables: Record<string, string> = {}) =>
  runJob(launcher, size, argv, { MORA_NCCL: standIn, ...variables })

const seen = () =>
  readdirSync(folder())
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))

describe.skipIf(!isHere)('ranks with a GPU each', () => {
  test.each([
    [2, '1'],
    [2, '7'],
    [3, '0'],
  ])('%i of them add up on their GPUs, with streams in the order of seed %s', async (size, seed) => {
    const ending = await run(size, [job, folder(), 'sums'], { MORA_SIMT_SEED: seed, MORA_SIMT_DEVICES: String(size) })
    expect(ending).toMatchObject({ code: 0, stderr: '' })
    const all = seen()
    expect(all.map(({ device }) => device)).toEqual(Array.from({ length: size }, (_, rank) => `cuda:${rank}`))
    for (const { farthest } of all) expect(farthest).toBeLessThanOrEqual(size * 2 ** -23)
    expect(new Set(all.map(({ hash }) => hash)).size).toBe(1)
  })
})
