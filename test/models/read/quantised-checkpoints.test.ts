/** Checkpoints with a `quantization_config`: equivalent forms, and conversion to other files. */
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mergeModel } from '../../../lib/models/index.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { loadFamily } from '../../golden/families.js'
import { goldenJson, largestDifference } from '../../golden/files.js'
import { readRawTensors, writeRawTensors } from '../../golden/tensor-files.js'
import { batchOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { type Change, changedSet, lacksSet, setPath, spoilt } from './quantised-sets.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))
const changed = (set: string, change: Change): string => changedSet(join(at(), 'changed'), set, change)

interface Golden {
  sequences: number[][]
  logprobs: number[][]
}

/** Equivalent forms that tools write and the golden data lacks. */
const variants: readonly [set: string, what: string, change: Change][] = [
  [
    'bnb-fp4',
    'codes in bfloat16, as trainers that shard parameters want them',
    {
      tensors(tensors) {
        for (const [name, { dtype, shape, bytes }] of tensors) {
          if (dtype === 'U8' && shape.length === 2)
            tensors.set(name, { dtype: 'BF16', shape: [bytes.length / 2, 1], bytes })
        }
      },
    },
  ],
  [
    'gptq-4-g32-asym-zero',
    'bits and groups by rules of names',
    { settings: { bits: 8, group_size: 128, dynamic: { '.*': {} } } },
  ],
  [
    'gptq-4-g32-asym-zero',
    'no groups of inputs, which are in order',
    {
      tensors(tensors) {
        for (const name of [...tensors.keys()].filter((one) => one.endsWith('.g_idx'))) tensors.delete(name)
      },
    },
  ],
  [
    'gptq-4-g32-asym-zero',
    'its version under the older key',
    { settings: { checkpoint_format: undefined, format: 'gptq' } },
  ],
  [
    'awq-g32',
    'AutoAWQ’s own keys',
    { settings: { bits: undefined, group_size: undefined, w_bit: 4, q_group_size: 32 } },
  ],
  [
    'ct-int8-channel',
    'integers in bytes instead of words',
    {
      settings: {
        format: 'int-quantized',
        config_groups: { group_0: { weights: { strategy: 'channel', num_bits: 8 } } },
      },
      tensors(tensors) {
        for (const [name, { shape, bytes }] of [...tensors].filter(([one]) => one.endsWith('.weight_packed'))) {
          const module = name.slice(0, -'.weight_packed'.length)
          tensors.delete(name)
          tensors.delete(`${module}.weight_shape`)
          const signed = bytes.map((code) => code ^ 0x80)
          tensors.set(`${module}.weight`, { dtype: 'I8', shape: [shape[0]!, 4 * shape[1]!], bytes: signed })
        }
      },
    },
  ],
  ['fp8-block', 'blocks of the usual size that are not named', { settings: { weight_block_size: undefined } }],
]

for (const [set, what, change] of variants)
  needing(lacksSet(set)).test(`${set} with ${what} is the same`, async () => {
    const { sequences, logprobs } = goldenJson<Golden>(`quantised/${set}/expected.json`)
    using model = await loadFamily(changed(set, change))
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
  })

describe('a quantised checkpoint', () => {
  const set = 'bnb-fp4'
  const { sequences, logprobs } = goldenJson<Golden>(`quantised/${set}/expected.json`)

  test('is distinguished from another by its codes, its scales and its configuration', async () => {
    const hashOf = async (change: Change) => (await ModelSource.open(changed(set, change))).identity()
    const own = await hashOf({})
    expect(own.format).toBe('fp4')
    expect(await hashOf({})).toEqual(own)
    for (const part of ['weight', 'weight.absmax', 'weight.quant_map']) {
      expect((await hashOf(spoilt(part, 1))).hash, part).not.toBe(own.hash)
    }
    expect((await hashOf({ settings: { version: 2 } })).hash).not.toBe(own.hash)
  })

  test('saves and merges as floats, and its configuration says so', async () => {
    using model = await loadFamily(setPath(set))
    await model.save(join(at(), 'saved'), { dtype: 'float32' })
    using saved = await loadFamily(join(at(), 'saved'))
    expect(saved.config.json).toMatchObject({ dtype: 'float32', hidden_size: 96 })
    expect(saved.config.json).not.toHaveProperty('quantization_config')
    expect(largestDifference((await logProbsOf(saved, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)

    model.addAdapter('a', lora({ rank: 2 }))
    await takeSteps(model, batchOf(sequences.map((input_ids) => ({ input_ids }))), 1e-2, 3)
    const wanted = (await logProbsOf(model, sequences)).flat()
    expect(largestDifference(wanted, logprobs.flat())).toBeGreaterThan(0.01)
    await model.saveAdapter('a', join(at(), 'adapter'))
    const output = join(at(), 'merged')
    await mergeModel({ model: setPath(set), adapter: join(at(), 'adapter'), output, dtype: 'float32' })
    using merged = await loadFamily(output)
    expect(largestDifference((await logProbsOf(merged, sequences)).flat(), wanted)).toBeLessThan(5e-5)
  })

  test('need not name bitsandbytes', async () => {
    const source = await ModelSource.open(changed(set, { settings: { quant_method: undefined } }))
    expect(source.storedDType()).toBe('fp4')
  })

  for (const [other, file, change] of [
    ['gptq-4-g32-asym-zero', 'quantize_config.json', { checkpoint_format: undefined }],
    [
      'awq-g32',
      'quant_config.json',
      { bits: undefined, group_size: undefined, w_bit: 4, q_group_size: 32, version: 'GEMM' },
    ],
  ] as const)
    needing(lacksSet(other)).test(`${other} may have its settings in ${file}`, async () => {
      const { sequences, logprobs } = goldenJson<Golden>(`quantised/${other}/expected.json`)
      const folder = changed(other, { settings: change })
      const path = join(folder, 'config.json')
      const { quantization_config: settings, ...config } = JSON.parse(readFileSync(path, 'utf8'))
      writeFileSync(path, JSON.stringify(config))
      await expect(loadFamily(folder)).rejects.toThrow(/has no tensor .*weight/)
      writeFileSync(join(folder, file), JSON.stringify({ ...settings, quant_method: undefined }))
      using model = await loadFamily(folder)
      expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
      writeFileSync(join(folder, file), JSON.stringify({ ...settings, quant_method: undefined, bits: 3, w_bit: 3 }))
      await expect(loadFamily(folder)).rejects.toThrow(new RegExp(`${file}: .*3 is not supported: supported: 4`))
    })

  test('may be one file with AutoGPTQ’s name, but not two', async () => {
    const folder = join(at(), 'named')
    cpSync(setPath(set), folder, { recursive: true })
    const [first, second] = ['gptq_model-4bit-128g.safetensors', 'gptq_model-4bit-32g.safetensors']
    renameSync(join(folder, 'model.safetensors'), join(folder, first))
    using model = await loadFamily(folder)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
    cpSync(join(folder, first), join(folder, second))
    await expect(loadFamily(folder)).rejects.toThrow(
      `index.json but ${first} and ${second}: a single one of these was expected.`,
    )
  })

  test.each(['model', 'gptq_model-4bit-128g'])('is shared over files %s-….safetensors', async (stem) => {
    const folder = join(at(), stem)
    cpSync(setPath(set), folder, { recursive: true })
    const tensors = readRawTensors(join(folder, 'model.safetensors'))
    const halves = [...tensors.keys()].map(
      (name, i) => [name, `${stem}-0000${(i % 2) + 1}-of-00002.safetensors`] as const,
    )
    for (const file of new Set(halves.map(([, file]) => file))) {
      const own = halves.filter(([, other]) => other === file).map(([name]) => [name, tensors.get(name)!] as const)
      writeRawTensors(join(folder, file), new Map(own))
    }
    writeFileSync(
      join(folder, `${stem}.safetensors.index.json`),
      JSON.stringify({ weight_map: Object.fromEntries(halves) }),
    )
    rmSync(join(folder, 'model.safetensors'))
    using model = await loadFamily(folder)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
  })
})
