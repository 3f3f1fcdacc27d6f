/** The model of the CUDA backend's launches on a GPU (bench/cuda-model.mjs), from traces of the emulator. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { binaryCandidates } from '../../lib/native-binary.js'
import { useTemporaryFolder } from '../io/temporary.js'

const root = join(import.meta.dirname, '..', '..')
const emulator = join(dirname(binaryCandidates().find(existsSync) ?? ''), 'mora_cuda_emulated.so')
const temporary = useTemporaryFolder()

interface Predicted {
  blocks: { operator: string; rank: number; goal: number; adds: number }[]
  training: { method: string; tokensPerSecond: number }[]
}

test.skipIf(!existsSync(emulator))(
  'predicts what adapters add to a block, within its goals',
  { timeout: 300_000 },
  () => {
    const path = join(temporary(), 'predicted.json')
    const { status, stderr } = spawnSync(process.execPath, ['bench/cuda-model.mjs', '--json', path], {
      cwd: root,
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(0)
    const { blocks, training } = JSON.parse(readFileSync(path, 'utf8')) as Predicted
    expect(blocks.map(({ operator, rank }) => `${operator}:${rank}`)).toEqual([
      'rotation:8',
      'sharing:8',
      'rotation:256',
      'sharing:256',
    ])
    for (const { operator, adds, goal } of blocks) expect(adds, operator).toBeLessThan(goal)
    expect(training.map(({ tokensPerSecond }) => tokensPerSecond > 0)).toEqual([true, true])
  },
)
