/** Models that are written in blocks or codes: they equal the same floats quantised while loading. */

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { randomStream } from '../../../lib/common/random.js'
import { readGguf } from '../../../lib/io/gguf.js'
import { readSafetensorsHeader } from '../../../lib/io/safetensors.js'
import type { QuantiseFormat } from '../../../lib/models/formats.js'
import { initModel, loadModel, type MergeModelOptions, mergeModel } from '../../../lib/models/index.js'
import type { Model } from '../../../lib/models/model.js'
import { weightShapes } from '../../../lib/models/network/plan.js'
import { formatInMixture } from '../../../lib/models/quantise/mixtures.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { writeModelFolder } from '../../../lib/models/write/write-folder.js'
import type { Tensor } from '../../../lib/tensor/tensor.js'
import { goldenJson, goldenPath, largestDifference } from '../../golden/files.js'
import { readRawTensors } from '../../golden/tensor-files.js'
import { quickFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { lacksSet, setPath } from '../read/quantised-sets.js'

const folder = quickFolder()
const at = (name: string) => join(folder, name)
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const place = { device, threads: 2 }

/** Rows of 256 and 512 values; and of 172, which fill no blocks of 32. */
const configs = {
  wide: { hidden_size: 256, intermediate_size: 512, head_dim: 64 },
  narrow: { hidden_size: 64, intermediate_size: 172 },
  odd: { hidden_size: 64, intermediate_size: 173 },
  none: { hidden_size: 36, intermediate_size: 44, head_dim: 8, num_attention_heads: 1, num_key_value_heads: 1 },
}
type Name = keyof typeof configs

beforeAll(async () => {
  const { torch_dtype: _, ...config } = goldenJson<Record<string, unknown>>('tiny-untied/model/config.json')
  for (const [name, sizes] of Object.entries(configs)) {
    const path = at(`${name}.json`)
    writeFileSync(path, JSON.stringify({ ...config, ...sizes, num_hidden_layers: 2, initializer_range: 0.08 }))
    using model = await initModel(path, { ...place, dtype: 'float32', seed: 3 })
    await model.save(at(name), { dtype: 'float32' })
    await randomAdapter(at(name), at(`${name}-adapter`))
  }
})
afterAll(() => rmSync(folder, { recursive: true }))
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const load = (path: string, options: { quantised?: boolean; quantise?: QuantiseFormat } = {}) =>
  loadModel(path, { ...place, dtype: 'float32', ...options })

async function randomAdapter(path: string, output: string, targetModules?: string[]): Promise<void> {
  using model = await load(path)
  model.addAdapter('x', lora({ rank: 2, ...(targetModules && { targetModules }) }))
  const random = randomStream(1, 'adapter')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
  await model.saveAdapter('x', output)
}

/** Merges in this form, and returns the output. */
async function merged(name: Name, output: string, form: Partial<MergeModelOptions>): Promise<string> {
  await mergeModel({ model: at(name), adapter: at(`${name}-adapter`), output: at(output), ...place, ...form })
  return at(output)
}

async function expectSameWeights(got: Model, wanted: Model): Promise<void> {
  for (const { name, own } of wanted.slots) {
    const found = got.slot(name).own
    expect(found.storage, name).toBe(own.storage)
    expect(largestDifference(await found.data(), await own.data()), name).toBe(0)
  }
}

/** The bytes of each tensor of a GGUF file. */
async function blocksOf(path: string): Promise<Map<string, Buffer>> {
  const file = readFileSync(path)
  const { tensors } = await readGguf(path)
  return new Map([...tensors].map(([name, { offset, bytes }]) => [name, file.subarray(offset, offset + bytes)]))
}

describe.each(['nf4', 'q8_0', 'q4_0', 'q4_k', 'mxfp4'] as const)('%s', (quantise) => {
  const extension = quantise === 'nf4' ? '' : '.gguf'

  test.each(['wide', 'narrow'] as const)('equals the merged floats quantised while loading: %s', async (name) => {
    const floats = await merged(name, `${name}-${quantise}-floats`, { dtype: 'float32' })
    const written = await merged(name, `${name}-${quantise}${extension}`, { quantise, dtype: 'float32' })
    using wanted = await load(floats, { quantise })
    using got = await load(written, { quantised: true })
    await expectSameWeights(got, wanted)
    expect(got.quantised).toMatchObject({ format: quantise === 'q4_k' && name === 'narrow' ? 'q5_0' : quantise })
    expect(got.linears().filter(({ weight }) => weight.storage !== 'float32').length).toBe(
      quantise === 'nf4' || name === 'wide' ? 14 : 12,
    )
  })

  test('a model in memory is written the same, and other tensors have the dtype', async () => {
    using model = await load(at('wide'))
    await model.save(at(`saved-${quantise}${extension}`), { quantise, dtype: 'bfloat16' })
    using got = await load(at(`saved-${quantise}${extension}`), { quantised: true })
    using wanted = await load(at('wide'), { quantise })
    const linears = wanted.linears().map(({ name }) => `${name}.weight`)
    for (const name of linears)
      expect(largestDifference(await got.slot(name).own.data(), await wanted.slot(name).own.data()), name).toBe(0)
    expect(got.source!.weights.get('model.embed_tokens.weight')).toMatchObject({ dtype: 'bfloat16' })
  })
})

describe('NF4 as bitsandbytes stores it', () => {
  needing(lacksSet('bnb-nf4')).test('what the tool wrote is written again, byte for byte', async () => {
    const golden = setPath('bnb-nf4')
    using model = await load(golden)
    await model.save(at('again'), { quantise: 'nf4', dtype: 'bfloat16' })
    const [got, wanted] = [at('again'), golden].map((path) => readRawTensors(join(path, 'model.safetensors')))
    expect([...got!.keys()].sort()).toEqual([...wanted!.keys()].sort())
    for (const [name, { dtype, shape, bytes }] of wanted!) {
      const found = got!.get(name)!
      expect(found.dtype, name).toBe(dtype)
      if (name.includes('quant_state')) {
        const [state, other] = [found.bytes, bytes].map((json) => JSON.parse(Buffer.from(json).toString()))
        expect(state).toEqual(other)
      } else {
        expect(found.shape, name).toEqual(shape)
        expect(Buffer.compare(found.bytes, bytes), name).toBe(0)
      }
    }
    const [config, other] = [at('again'), golden].map((path) =>
      JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')),
    )
    expect(config.quantization_config).toEqual(other.quantization_config)
  })

  test.each(['wide', 'narrow', 'odd'] as const)(
    'each weight of %s is computed once, and tensors are aligned',
    async (name) => {
      const source = await ModelSource.open(at(name))
      const made: string[] = []
      const fill = (weight: string, values: Tensor) => {
        made.push(weight)
        source.loadInto(weight, values)
      }
      const writable = { config: source.config, tokenizer: null, source, device: testDevice(), fill }
      await writeModelFolder(writable, at(`once-${name}`), { quantise: 'nf4', dtype: 'bfloat16' })
      source.closeFiles()
      expect(made.sort()).toEqual([...weightShapes(source.config).keys()].sort())
      const { tensors } = await readSafetensorsHeader(join(at(`once-${name}`), 'model.safetensors'))
      for (const [tensor, { dtype, offset }] of tensors)
        expect(offset % { float32: 4, bfloat16: 2, uint8: 1 }[dtype as 'uint8'], tensor).toBe(0)
    },
  )

  test('rows of an odd number of values stay floats, and the configuration says so', async () => {
    const output = await merged('odd', 'odd-nf4', { quantise: 'nf4' })
    const { quantization_config } = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'))
    expect(quantization_config.llm_int8_skip_modules).toEqual(
      ['lm_head', 0, 1].map((layer) => (layer === 'lm_head' ? layer : `model.layers.${layer}.mlp.down_proj`)),
    )
    using model = await load(output, { quantised: true })
    expect(model.slot('model.layers.0.mlp.down_proj.weight').own.storage).toBe('float32')
    expect(model.slot('model.layers.0.mlp.up_proj.weight').own.storage).toBe('nf4')
  })
})

test('a mixture says the format of each linear layer, and leaves the others to the dtype', async () => {
  const { tensors } = await readGguf(await merged('wide', 'mixed.gguf', { quantise: 'q4_k_m', dtype: 'bfloat16' }))
  const facts = { layers: 2, heads: 4, keyValueHeads: 2, tiedEmbeddings: false, weighted: false }
  let rich = 0
  for (const [name, { dtype, shape }] of tensors) {
    const blocks = shape.length === 2 && name.startsWith('blk.')
    const floats = shape.length === 1 ? 'float32' : 'bfloat16'
    expect(dtype, name).toBe(blocks ? formatInMixture('q4_k_m', name, shape[1]!, facts) : floats)
    if (dtype === 'q6_k') rich++
  }
  expect(rich).toBeGreaterThan(0)
  const both = await readGguf(await merged('wide', 'both.gguf', { quantise: 'mxfp4', dtype: 'q8_0' }))
  expect(both.tensors.get('output.weight')!.dtype).toBe('q8_0')
  expect(both.tensors.get('blk.0.attn_q.weight')!.dtype).toBe('mxfp4')
})

test('weights without an adapter keep the blocks of their file', async () => {
  using model = await load(at('wide'))
  const base = at('blocks.gguf')
  await model.save(base, { quantise: 'q4_k', dtype: 'q4_k_m' })
  await randomAdapter(base, at('on-queries'), ['q_proj'])
  const form = { quantise: 'q4_k', dtype: 'q4_k_m' } as const
  await mergeModel({ model: base, adapter: at('on-queries'), output: at('kept.gguf'), ...place, ...form })
  const [before, after] = [await blocksOf(base), await blocksOf(at('kept.gguf'))]
  const changed = [...after].filter(([name, bytes]) => !bytes.equals(before.get(name)!))
  expect(changed.map(([name]) => name)).toEqual(['blk.0.attn_q.weight', 'blk.1.attn_q.weight'])
  // In memory, too, with the adapter beside, active or merged.
  using again = await load(base)
  await again.loadAdapter(at('on-queries'))
  await again.save(at('without.gguf'), form)
  expect(await blocksOf(at('without.gguf'))).toEqual(before)
  await again.save(at('with.gguf'), { ...form, mergeActive: true })
  await again.mergeAdapter('default')
  await again.save(at('with-merged.gguf'), form)
  expect(await blocksOf(at('with.gguf'))).toEqual(after)
  expect(await blocksOf(at('with-merged.gguf'))).toEqual(after)
})

describe('is refused by a sentence, and nothing is written', () => {
  test.each([
    ['nf4 in a GGUF file', 'wide', 'a.gguf', { quantise: 'nf4' }, /quantise nf4 does not go with format gguf: /],
    ['blocks in a folder', 'wide', 'a', { quantise: 'q4_0' }, /quantise q4_0 does not go with format safetensors: /],
    ['mixtures in a folder', 'wide', 'a', { dtype: 'q4_k_m' }, /dtype q4_k_m does not go with format safetensors: /],
    ['rows that fill no blocks', 'none', 'a.gguf', { quantise: 'q4_0' }, /No linear layer .* whole blocks of q4_0/],
  ] as const)('%s', async (_, name, output, form, message) => {
    await expect(merged(name, output, form)).rejects.toThrow(message)
    await expect(merged(name, output, form)).rejects.toMatchObject({ code: 'unfit-options' })
  })

  test('NF4 of weights that are stored transposed', async () => {
    using model = await load(goldenPath('families/gpt2'))
    await expect(model.save(at('transposed'), { quantise: 'nf4' })).rejects.toThrow(/nf4 does not go with gpt2/)
  })
})
