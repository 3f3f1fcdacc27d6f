/** Families with convolutions, delta nets, inputs of every layer's own or towers: quantised on loading, and as quantisers write them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { type RandomStream, randomStream } from '../../../lib/common/random.js'
import { loadModel, mergeModel } from '../../../lib/models/index.js'
import { Weights } from '../../../lib/models/load/weights.js'
import { Model } from '../../../lib/models/model.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { bfloat16BitsToFloat32, float16BitsToFloat32 } from '../../../lib/tensor/half.js'
import { drawn } from '../../drawn.js'
import { describeFamilies, familyExpected, familyFolder, familyPath, layoutOf, sharp } from '../../golden/families.js'
import { lacksGolden, largestDifference, largestOf, readTensors } from '../../golden/files.js'
import { type RawTensor, readRawTensors, writeRawTensors } from '../../golden/tensor-files.js'
import { batchOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import {
  awq,
  bnb4,
  compressed,
  type Encoded,
  fp8,
  gptq,
  layer,
  llmInt8,
  modeloptFp8,
  nvfp4,
} from '../read/formats/encoders.js'

const at = useTemporaryFolder()
const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const place = { device: device.kind as 'cpu' | 'cuda', dtype: 'float32', threads: 2 } as const
const methods = { lora: lora({ rank: 2 }), mora: mora({ rank: 2, operator: 'rotation' }) }

/** The likeliest tokens after the first ones of a sequence, one after the other. */
async function generated(model: Model, ids: readonly number[]): Promise<number[]> {
  const all = ids.slice(0, 5)
  using cache = model.createCache(20)
  for (let read = all; all.length < 20; read = all.slice(-1))
    all.push(await model.nextToken(read, cache, { temperature: 0, topK: 0, topP: 1, uniform: 0 }))
  return all
}

describeFamilies(
  ['lfm2', 'qwen3_5-text', 'qwen3_5', 'gemma4-e2b', 'granitemoehybrid-dense', 'ministral3'],
  (name, folder) => {
    const { sequences } = familyExpected(name)
    const batch = batchOf(sequences.map((input_ids) => ({ input_ids })))
    const tolerance = sharp.has(name) ? 5e-3 : 5e-4

    test('its linear layers are quantised, and nothing else', async () => {
      using model = await loadModel(folder, { ...place, quantise: 'nf4' })
      const floats = model.slots.filter(({ own }) => own.storage !== 'nf4').map((slot) => slot.name)
      expect(
        floats.filter((one) => !/norm|embed_tokens|lm_head|conv1?d?\.conv|conv1d|A_log|dt_bias|layer_scalar/.test(one)),
      ).toEqual([])
      const linears = model.linears().map((one) => `${one.name}.weight`)
      expect(floats.filter((one) => linears.includes(one))).toEqual([])
      expect(linears.length).toBeGreaterThan(10)
    })

    test.each(Object.entries(methods))('%s trains beside them, and is merged into their values', async (_, config) => {
      const source = (await ModelSource.open(folder)).quantisedTo('nf4')
      using values = new Model({ tokenizer: null, weights: new Weights(source, device, 'float32'), source })
      using model = await loadModel(folder, { ...place, quantise: 'nf4' })
      const before = await logProbsOf(model, sequences)
      for (const one of [values, model]) {
        await one.addAdapter('a', config, { seed: 3 })
        await takeSteps(one, batch, 5e-3, 3)
      }
      const wanted = (await logProbsOf(model, sequences)).flat()
      expect(largestDifference(wanted, before.flat())).toBeGreaterThan(0.01)
      expect(largestDifference((await logProbsOf(values, sequences)).flat(), wanted)).toBeLessThan(tolerance)
      const [adapter, output] = [join(at(), 'adapter'), join(at(), 'merged')]
      await model.saveAdapter('a', adapter)
      await mergeModel({ model: folder, adapter, output, dtype: 'float32', device: place.device })
      expect(layoutOf(output)).toEqual(layoutOf(folder))
      using merged = await loadModel(output, place)
      expect(largestDifference((await logProbsOf(merged, sequences)).flat(), wanted)).toBeLessThan(tolerance)
      const small = join(at(), 'small')
      await mergeModel({
        model: folder,
        adapter,
        output: small,
        dtype: 'float32',
        quantise: 'nf4',
        device: place.device,
      })
      using again = await loadModel(small, { ...place, quantised: true })
      using rounded = await loadModel(output, { ...place, quantise: 'nf4' })
      expect(await logProbsOf(again, sequences)).toEqual(await logProbsOf(rounded, sequences))
      expect(await generated(merged, sequences.at(-1)!)).toEqual(await generated(model, sequences.at(-1)!))
      const [stored, ...written] = [folder, output, small].map((one) => readTensors(join(one, 'model.safetensors')))
      for (const { name: kept } of source.kept)
        for (const tensors of written)
          expect(tensors.get(source.spelling.inFile(kept))!.bytes).toEqual(
            stored!.get(source.spelling.inFile(kept))!.bytes,
          )
    })
  },
)

/** An encoded weight of a shape; null where the format has no such shape, so that quantisers leave the layer out. */
type Encode = (random: RandomStream, shape: { rows: number; columns: number }) => Encoded | null

const formats: Record<string, Encode> = {
  'bitsandbytes NF4': (random, shape) => bnb4(random, shape),
  'LLM.int8': (random, shape) => llmInt8(random, shape),
  GPTQ: (random, shape) => (shape.rows % 8 || shape.columns % 8 ? null : gptq(random, { ...shape, group: -1 })),
  AWQ: (random, shape) => (shape.rows % 8 ? null : awq(random, { ...shape, group: -1 })),
  'LLM Compressor': (random, shape) => compressed(random, { ...shape, strategy: 'channel', symmetric: false }),
  'FP8 in blocks': (random, shape) => fp8(random, { ...shape, block: [16, 16] }),
  'FP8 with one scale': (random, shape) => fp8(random, { ...shape, block: null, scale: 'BF16' }),
  NVFP4: (random, shape) => (shape.columns % 16 ? null : nvfp4(random, shape)),
  'FP8 of Model Optimizer': (random, shape) => modeloptFp8(random, shape),
}

/** Tensors that quantisers write beside those of a weight: biases of zeros, and scales of activations. */
function besides(format: string, name: string, rows: number): [suffix: string, tensor: RawTensor][] {
  const one: RawTensor = { dtype: 'F32', shape: [], bytes: Uint8Array.of(0, 0, 0x80, 0x3f) }
  if (format === 'GPTQ' && /language_model/.test(name))
    return [['bias', { dtype: 'F16', shape: [rows], bytes: new Uint8Array(2 * rows) }]]
  if (format === 'FP8 with one scale') return [['activation_scale', one]]
  return /NVFP4|Optimizer/.test(format) ? [['input_scale', one]] : []
}

const isScale = /\.(absmax|SCB|scales|weight_scale(_inv|_2)?)$/

/** Makes a scale smaller, which the encoders draw near 1: weights of the size 10 make softmaxes of one token. */
function smaller({ dtype, shape, bytes }: RawTensor): RawTensor {
  const { buffer, byteOffset, byteLength } = bytes
  const decode = { F16: float16BitsToFloat32, BF16: bfloat16BitsToFloat32 }[dtype]
  const values = decode
    ? Float32Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), decode)
    : new Float32Array(buffer, byteOffset, byteLength / 4)
  return { dtype: 'F32', shape, bytes: new Uint8Array(values.map((value) => value * SMALLER).buffer) }
}

const SMALLER = 2 ** -7

/** Linear layers of the text model and of towers, which quantisers of a whole model quantise alike. */
const isLinear = (name: string, { shape }: RawTensor) =>
  shape.length === 2 && name.endsWith('.weight') && !/embed_tokens|lm_head|pos_embed|position_embedding|^mtp/.test(name)

/** Writes a checkpoint whose linear layers are quantised, towers' too, and another with the same values in floats. */
function quantisedPair(folder: string, format: string): { codes: string; floats: string; quantised: string[] } {
  const tensors = readRawTensors(join(folder, 'model.safetensors'))
  const [codes, floats] = [new Map(tensors), new Map(tensors)]
  const quantised: string[] = []
  let settings: object = {}
  for (const [name, tensor] of tensors) {
    if (!isLinear(name, tensor)) continue
    const [rows, columns] = tensor.shape as [number, number]
    const encoded = formats[format]!(randomStream(3, 'test', name), { rows, columns })
    if (!encoded) continue
    settings = encoded.settings
    quantised.push(name)
    const module = name.slice(0, -'.weight'.length)
    codes.delete(name)
    for (const [part, own] of encoded.tensors)
      codes.set(part.replace(layer, module), isScale.test(part) && own.dtype !== 'F8_E4M3' ? smaller(own) : own)
    for (const [suffix, own] of besides(format, name, rows))
      if (!codes.has(`${module}.${suffix}`)) codes.set(`${module}.${suffix}`, own)
    const values = Float32Array.from(encoded.values, (value) => value * SMALLER)
    floats.set(name, { ...tensor, bytes: new Uint8Array(values.buffer) })
  }
  const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  const written = ([to, own, config]: [string, Map<string, RawTensor>, object]) => {
    mkdirSync(join(at(), to))
    writeRawTensors(join(at(), to, 'model.safetensors'), own)
    writeFileSync(join(at(), to, 'config.json'), JSON.stringify({ ...json, ...config }))
    return join(at(), to)
  }
  return {
    codes: written(['codes', codes, { quantization_config: settings }]),
    floats: written(['floats', floats, {}]),
    quantised,
  }
}

const wrapped = ['gemma3-wrapped', 'ministral3', 'qwen3_5', 'gemma4-e2b']
const others = ['lfm2', 'qwen3_5-text', 'granitemoehybrid-dense']
const pairs = [...wrapped, ...others].flatMap((name) => Object.keys(formats).map((format) => [name, format] as const))

describe('a model that is quantised as a whole, towers too', () => {
  for (const [name, format] of drawn('families in quantised formats', pairs, 3))
    needing(lacksGolden(familyPath(name))).test(`${name}, ${format}`, async () => {
      const { sequences } = familyExpected(name)
      const { codes, floats, quantised } = quantisedPair(familyFolder(name), format)
      using values = await loadModel(floats, place)
      const wanted = (await logProbsOf(values, sequences)).flat()
      using converted = await loadModel(codes, { ...place, quantised: false })
      expect(largestDifference((await logProbsOf(converted, sequences)).flat(), wanted)).toBeLessThan(1e-4)
      using model = await loadModel(codes, { ...place, quantised: true })
      expect(model.slots.filter(({ own }) => own.floats === null).length).toBeGreaterThan(2)
      expect(largestDifference((await logProbsOf(model, sequences)).flat(), wanted)).toBeLessThan(1e-3)

      await model.addAdapter('a', methods.lora, { seed: 3 })
      await takeSteps(model, batchOf(sequences.map((input_ids) => ({ input_ids }))), 5e-3, 3)
      const trained = (await logProbsOf(model, sequences)).flat()
      expect(largestDifference(trained, wanted)).toBeGreaterThan(0.003)
      const [adapter, output] = [join(at(), 'adapter'), join(at(), 'merged')]
      await model.saveAdapter('a', adapter)
      await mergeModel({ model: codes, adapter, output, dtype: 'float32', device: place.device })
      // All of it is floats then, and the settings say so.
      expect(layoutOf(output)).toEqual(layoutOf(floats))
      const json = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8'))
      expect(json).not.toHaveProperty('quantization_config')
      const [before, after] = [floats, output].map((one) => readTensors(join(one, 'model.safetensors')))
      const adapted = new Set(model.linears().map((one) => model.source!.spelling.inFile(`${one.name}.weight`)))
      for (const [key, { bytes, values: floats }] of before!) {
        if (adapted.has(key)) continue
        if (!quantised.includes(key)) expect(after!.get(key)!.bytes, key).toEqual(bytes)
        const size = largestOf(floats)
        expect(largestDifference(after!.get(key)!.values, floats), key).toBeLessThanOrEqual(2 ** -22 * size)
      }
      expect(quantised.some((key) => !adapted.has(key))).toBe(wrapped.includes(name))
      using merged = await loadModel(output, place)
      expect(largestDifference((await logProbsOf(merged, sequences)).flat(), trained)).toBeLessThan(1e-3)
    })
})
