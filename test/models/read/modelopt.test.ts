/**
 * A checkpoint that Model Optimizer would write, packed here by its rules: log-probabilities are those of the model whose weights
 * are the values that the codes stand for, kept or unpacked, and adapters train beside it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { loadModel } from '../../../lib/models/index.js'
import { goldenPath, largestDifference, readTensors } from '../../golden/files.js'
import { type RawTensor, writeRawTensors } from '../../golden/tensor-files.js'
import { batchOf, expectedOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { layer } from './formats/encoders.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const base = goldenPath('tiny-untied/model')
const { sequences } = expectedOf('tiny-untied')

/** Magnitudes of the 4-bit floats. */
const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
/** Magnitudes of the 8-bit floats by their codes. */
const scaleValues = Array.from({ length: 0x7f }, (_, code) => {
  const [exponent, fraction] = [code >> 3, code & 7]
  return exponent === 0 ? (fraction / 8) * 2 ** -6 : (1 + fraction / 8) * 2 ** (exponent - 7)
})
const nearest = (values: readonly number[], wanted: number) =>
  values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best]! - wanted) ? i : best), 0)

const float32 = (value: number): RawTensor => ({
  dtype: 'F32',
  shape: [],
  bytes: new Uint8Array(Float32Array.of(value).buffer),
})

/** Packs a matrix [rows, columns]; returns its tensors and the values that they stand for. */
function packed(values: Float32Array, [rows, columns]: readonly [number, number]) {
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  const whole = Math.fround(largest / (6 * 448))
  const groups = columns / 16
  const [codes, scales] = [new Uint8Array((rows * columns) / 2), new Uint8Array(rows * groups)]
  const unpacked = new Float32Array(values.length)
  for (let group = 0; group < rows * groups; group++) {
    const part = values.subarray(16 * group, 16 * group + 16)
    const most = part.reduce((size, value) => Math.max(size, Math.abs(value)), 0)
    scales[group] = nearest(scaleValues, most / (6 * whole))
    const scale = scaleValues[scales[group]!]! * whole
    for (const [i, value] of part.entries()) {
      const code = nearest(magnitudes, Math.abs(value) / (scale || 1))
      const element = 16 * group + i
      unpacked[element] = Math.sign(value) * magnitudes[code]! * scale
      codes[element >> 1]! |= (code | (value < 0 ? 8 : 0)) << (4 * (element % 2))
    }
  }
  const tensors: Record<string, RawTensor> = {
    weight: { dtype: 'U8', shape: [rows, columns / 2], bytes: codes },
    weight_scale: { dtype: 'F8_E4M3', shape: [rows, groups], bytes: scales },
    weight_scale_2: float32(whole),
    input_scale: float32(0.01),
  }
  return { tensors, unpacked }
}

/** Writes the packed checkpoint, and one with the values of its codes; returns their folders. */
function writeBoth(settings: object = {}): { packed: string; plain: string } {
  const [packedTensors, plainTensors] = [new Map<string, RawTensor>(), new Map<string, RawTensor>()]
  for (const [name, { shape, values }] of readTensors(join(base, 'model.safetensors'))) {
    const asStored = (floats: Float32Array): RawTensor => {
      return { dtype: 'F32', shape: [...shape], bytes: new Uint8Array(floats.slice().buffer) }
    }
    const module = /^(model\.layers\..*_proj)\.weight$/.exec(name)?.[1]
    // Tools skip layers whose inputs do not fill whole groups.
    if (module === undefined || shape[1]! % 16 !== 0) {
      packedTensors.set(name, asStored(values))
      plainTensors.set(name, asStored(values))
      continue
    }
    const { tensors, unpacked } = packed(values, shape as unknown as [number, number])
    for (const [part, tensor] of Object.entries(tensors)) packedTensors.set(`${module}.${part}`, tensor)
    if (module.endsWith('k_proj')) packedTensors.set(`${module}.k_scale`, float32(1))
    plainTensors.set(name, asStored(unpacked))
  }
  const config = JSON.parse(readFileSync(join(base, 'config.json'), 'utf8'))
  const folders = { packed: join(at(), 'packed'), plain: join(at(), 'plain') }
  for (const folder of Object.values(folders)) mkdirSync(folder)
  writeFileSync(join(folders.plain, 'config.json'), JSON.stringify(config))
  writeRawTensors(join(folders.plain, 'model.safetensors'), plainTensors)
  config.quantization_config = {
    config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 4, type: 'float', group_size: 16 } } },
    ignore: ['lm_head'],
    kv_cache_scheme: { num_bits: 8, type: 'float' },
    producer: { name: 'modelopt', version: '0.29.0' },
    quant_algo: 'NVFP4',
    quant_method: 'modelopt',
    ...settings,
  }
  writeFileSync(join(folders.packed, 'config.json'), JSON.stringify(config))
  writeRawTensors(join(folders.packed, 'model.safetensors'), packedTensors)
  return folders
}

const load = (folder: string, quantised?: boolean) =>
  loadModel(folder, { device: testDevice().kind, dtype: 'float32', threads: 2, quantised })

test('NVFP4: kept and unpacked weights compute as the values of their codes', async () => {
  const folders = writeBoth()
  using plain = await load(folders.plain)
  const wanted = (await logProbsOf(plain, sequences)).flat()
  for (const quantised of [true, false]) {
    using model = await load(folders.packed, quantised)
    expect(model.quantised).toMatchObject({ format: 'nvfp4', kept: quantised })
    const storage = model.linears().find(({ name }) => name === layer)!.weight.storage
    expect(storage).toBe(quantised ? 'nvfp4' : 'float32')
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), wanted)).toBeLessThan(1e-5)
  }
})

test('an adapter beside NVFP4 learns as beside the values of its codes', async () => {
  const folders = writeBoth()
  const batch = batchOf(sequences.map((input_ids) => ({ input_ids })))
  const after = async (folder: string, quantised?: boolean) => {
    using model = await load(folder, quantised)
    model.addAdapter('a', lora({ rank: 2 }))
    await takeSteps(model, batch, 1e-2, 4)
    return (await logProbsOf(model, sequences)).flat()
  }
  expect(largestDifference(await after(folders.packed, true), await after(folders.plain))).toBeLessThan(1e-3)
})

test.each([
  [{ quant_algo: 'W4A8_AWQ' }, /quant_algo "w4a8_awq" is not supported: supported: nvfp4/],
  [{ quant_algo: undefined }, /quant_algo/],
])('%j is refused by name', async (settings, message) => {
  const folders = writeBoth(settings)
  await expect(load(folders.packed)).rejects.toThrow(message)
})
