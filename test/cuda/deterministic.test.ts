/** Same seed, same bits, in whatever order a device runs threads, blocks and streams. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { drawn } from '../drawn.js'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'

const command = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')
const temporary = useTemporaryFolder()

/** The output of a run of the command, with the emulator's orders drawn from a seed (a GPU has its own). */
function trained(order: number, dtype: string): { adapter: string; steps: unknown[] } {
  const output = join(temporary(), `${dtype}-${order}`)
  const options = {
    model: goldenPath('tiny-untied/model'),
    data: goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl'),
    output,
    device: 'cuda',
    dtype,
    rank: 2,
    dropout: 0.1,
    'max-steps': 3,
    'batch-size': 4,
    seed: 5,
  }
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const { status, stderr } = spawnSync(process.execPath, [command, 'train', '--deterministic', ...flags], {
    env: { ...process.env, MORA_SIMT_SEED: String(order) },
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return {
    adapter: readFileSync(join(output, 'adapter_model.safetensors')).toString('base64'),
    steps: lines.map((line) => JSON.parse(line)).map(({ step, loss, gradNorm }) => [step, loss, gradNorm]),
  }
}

needing(lacksBuild).describe('a run on a GPU', () => {
  test.each(drawn('dtypes', ['float32', 'bfloat16', 'float16'], 1))(
    'T24 has the same bits in any order of the device, in %s',
    (dtype) => {
      const [first, ...others] = [1, 2, 3].map((order) => trained(order, dtype))
      expect(first!.steps).toHaveLength(3)
      for (const other of others) expect(other).toEqual(first)
    },
  )
})
