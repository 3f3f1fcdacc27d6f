/** `mora inspect --model` reports the quantised weights in the files, and the memory to load them. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadModel } from '../../lib/models/index.js'
import { goldenJson, goldenPath } from '../golden/files.js'
import { readRawTensors } from '../golden/tensor-files.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { mora } from './mora.js'

const temporary = useTemporaryFolder()
const device = testDevice()

const inspect = (...argv: string[]) => mora('inspect', ...argv)
const inspected = async (...argv: string[]) => JSON.parse((await inspect(...argv, '--json')).stdout)

/** A GGUF file of a tiny model whose matrices are in blocks, except those whose rows are not whole blocks. */
async function blocks(): Promise<string> {
  using model = await loadTiny('tiny-untied')
  const path = join(temporary(), 'model.gguf')
  await model.save(path, { dtype: 'q8_0' })
  return path
}

test.each([
  ['bnb-fp4', 'fp4', /\.weight(\.absmax|\.quant_map|\.quant_state.*)?$/],
  ['gptq-4-g32-asym-zero', 'gptq-4', /\.(qweight|qzeros|scales|g_idx)$/],
])('%s', async (set, format, part) => {
  const folder = goldenPath(`quantised/${set}`)
  const { quantised: weights } = goldenJson<{ quantised: number }>(`quantised/${set}/expected.json`)
  const tensors = [...readRawTensors(join(folder, 'model.safetensors'))]
  const codes = tensors.filter(([name]) => /_proj\./.test(name) && part.test(name))
  const bytes = codes.reduce((sum, [, tensor]) => sum + tensor.bytes.length, 0)
  const values = codes
    .filter(([name]) => /\.(weight|qweight)$/.test(name))
    .reduce((sum, [, tensor]) => sum + 2 * tensor.bytes.length, 0)
  const { quantisation, weightMemory } = await inspected('--model', folder)
  expect(quantisation).toEqual({
    format,
    weights,
    bytes,
    bfloat16Bytes: 2 * values,
    bitsPerValue: expect.closeTo((8 * bytes) / values, 10),
  })
  expect(weightMemory).toBeUndefined()
  const { stdout } = await inspect('--model', folder)
  expect(stdout).toContain(`${weights} weights, most in ${format}, ${((8 * bytes) / values).toFixed(2)} bits a value`)
})

test('blocks of GGUF take 34 bytes for 32 values', async () => {
  const { quantisation } = await inspected('--model', await blocks())
  expect(quantisation).toMatchObject({ format: 'q8_0', bitsPerValue: 8.5 })
})

test('floats are not reported as quantised', async () => {
  const folder = goldenPath('tiny-untied/model')
  const { quantisation, weightMemory } = await inspected('--model', folder, '--train')
  expect(quantisation).toBeNull()
  expect(weightMemory.float32.quantised).toBe(weightMemory.float32.floats)
  const { stdout } = await inspect('--model', folder, '--train')
  expect(stdout).toContain('weights in float32')
  expect(stdout).not.toContain('quantised')
})

test.each(['codes', 'blocks'])('--train reports the memory to load %s', async (kind) => {
  const path = kind === 'codes' ? goldenPath('quantised/bnb-fp4') : await blocks()
  const { weightMemory } = await inspected('--model', path, '--train')
  for (const dtype of ['float32', 'bfloat16'] as const) {
    for (const quantised of [false, true]) {
      const before = liveBytes(device)
      using _ = await loadModel(path, { device: device.kind as 'cpu' | 'cuda', threads: 2, dtype, quantised })
      const taken = liveBytes(device) - before
      const told = weightMemory[dtype][quantised ? 'quantised' : 'floats']
      expect(taken, `${dtype}, ${quantised}`).toBeLessThan(told)
      expect(taken, `${dtype}, ${quantised}`).toBeGreaterThan(0.7 * told)
    }
    expect(weightMemory[dtype].quantised).toBeLessThan(weightMemory[dtype].floats)
  }
  const { stdout } = await inspect('--model', path, '--train')
  expect(stdout).toMatch(/weights in bfloat16 +[\d.]+ [KM]iB, with --quantised [\d.]+ [KM]iB/)
})

test('--train is of a model alone', async () => {
  const folder = goldenPath('tiny-untied/model')
  for (const [code, ...argv] of [
    ['missing-option', '--adapter', folder],
    ['unfit-options', '--model', folder, '--method', 'lora'],
    ['unfit-options', '--model', folder, '--data', 'rows.jsonl'],
  ]) {
    expect((await inspected('--train', ...argv)).error.code, argv.join(' ')).toBe(code)
  }
})
