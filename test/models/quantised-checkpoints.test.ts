/** Checkpoints with a `quantization_config`: what is refused, and by which sentence; and what they become in other files. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { ModelSource } from '../../lib/models/checkpoint/model-source.js'
import { loadModel, mergeModel } from '../../lib/models/index.js'
import { loadFamily } from '../golden/families.js'
import { goldenJson, goldenPath, largestDifference } from '../golden/files.js'
import { type RawTensor, readRawTensors, writeRawTensors } from '../golden/tensor-files.js'
import { batchOf, logProbsOf, takeSteps } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const at = useTemporaryFolder()
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const folderOf = (set: string): string | null => goldenPath(`quantised/${set}`)

interface Change {
  /** Entries of `quantization_config` that become others. */
  settings?: object
  /** Changes the tensors in place. */
  tensors?: (tensors: Map<string, RawTensor>) => void
}

function changed(set: string, { settings, tensors: change }: Change): string {
  const from = folderOf(set)!
  const folder = join(at(), 'changed')
  mkdirSync(folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8'))
  config.quantization_config = { ...config.quantization_config, ...settings }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const tensors = readRawTensors(join(from, 'model.safetensors'))
  change?.(tensors)
  writeRawTensors(join(folder, 'model.safetensors'), tensors)
  return folder
}

const layer = 'model.layers.0.self_attn.q_proj'
const without = (suffix: string): Change => ({ tensors: (tensors) => tensors.delete(`${layer}.${suffix}`) })
/** The last value of a tensor, as bytes. */
const spoilt = (suffix: string, ...bytes: number[]): Change => ({
  tensors(tensors) {
    const { bytes: all } = tensors.get(`${layer}.${suffix}`)!
    all.set(bytes, all.length - bytes.length)
  },
})
const reshaped = (suffix: string, shape: number[], dtype?: string): Change => ({
  tensors(tensors) {
    const tensor = tensors.get(`${layer}.${suffix}`)!
    const values = (sizes: number[]) => sizes.reduce((product, size) => product * size, 1)
    const size = tensor.bytes.length / values(tensor.shape)
    const bytes = new Uint8Array(values(shape) * size)
    bytes.set(tensor.bytes.subarray(0, bytes.length))
    tensors.set(`${layer}.${suffix}`, { dtype: dtype ?? tensor.dtype, shape, bytes })
  },
})
const stateOf = (suffix: string, entries: object): Change => ({
  tensors(tensors) {
    const tensor = tensors.get(`${layer}.${suffix}`)!
    const state = JSON.parse(Buffer.from(tensor.bytes).toString()) as object
    const bytes = Buffer.from(JSON.stringify({ ...state, ...entries }))
    tensors.set(`${layer}.${suffix}`, { dtype: 'U8', shape: [bytes.length], bytes })
  },
})

const nan = [0, 0, 0xc0, 0x7f]
const infinite16 = [0, 0x7c]
const fp4 = 'weight.quant_state.bitsandbytes__fp4'

const refusals: readonly [set: string, what: string, change: Change, message: RegExp][] = [
  [
    'bnb-fp4',
    'an unknown method',
    { settings: { quant_method: 'aqlm' } },
    /quant_method "aqlm".*supported: bitsandbytes, gptq, awq/,
  ],
  ['bnb-fp4', 'no method', { settings: { quant_method: null } }, /quant_method null/],
  ['bnb-fp4', 'a missing map', without('weight.quant_map'), /q_proj\.weight, but no .*weight\.quant_map/],
  ['bnb-fp4', 'missing scales', without('weight.absmax'), /but no .*weight\.absmax/],
  [
    'bnb-fp4',
    'a missing state',
    without(fp4),
    /q_proj\.weight is \[4608, 1\], but the configuration asks for \[96, 96\]/,
  ],
  ['bnb-fp4', 'missing codes', without('weight'), /quant_state.*, but no .*q_proj\.weight,/],
  ['bnb-fp4', 'a scale that is no number', spoilt('weight.absmax', ...nan), /value 143 of .*absmax is not finite/],
  [
    'bnb-fp4',
    'a value of a code that is no number',
    spoilt('weight.quant_map', ...nan),
    /value 15 of .*quant_map is not finite/,
  ],
  ['bnb-fp4', 'fewer scales', reshaped('weight.absmax', [143]), /absmax is \[143\], but \[144\] fits/],
  ['bnb-fp4', 'fewer codes', reshaped('weight', [4600, 1]), /takes 4608 bytes of codes, but has 4600/],
  ['bnb-fp4', 'another type', stateOf(fp4, { quant_type: 'nf4' }), /has the quant_type "nf4"/],
  ['bnb-fp4', 'blocks of nothing', stateOf(fp4, { blocksize: 0 }), /has the blocksize 0/],
  ['bnb-fp4', 'an impossible shape', stateOf(fp4, { shape: [96, -96] }), /has the shape \[96,-96\]/],
  [
    'bnb-fp4',
    'another shape',
    stateOf(fp4, { shape: [48, 192] }),
    /q_proj\.weight is \[48, 192\], but the configuration asks for \[96, 96\]/,
  ],
  [
    'bnb-nf4-double',
    'an infinite scale of scales',
    spoilt('weight.nested_absmax', 0, 0, 0x80, 0xff),
    /nested_absmax is not finite/,
  ],
  [
    'bnb-nf4-double',
    'no offset',
    stateOf('weight.quant_state.bitsandbytes__nf4', { nested_offset: null }),
    /nested_offset null/,
  ],
  ['bnb-int8', 'columns in another order', spoilt('weight_format', 1), /weight_format is 1; only rows/],
  ['bnb-int8', 'a scale that is no number', spoilt('SCB', ...nan), /SCB is not finite/],
  ['bnb-int8', 'missing scales', without('SCB'), /q_proj\.weight is stored as I8/],
  [
    'gptq-4-g32-asym-zero',
    '3 bits',
    { settings: { bits: 3 } },
    /quantization_config: bits 3 is not supported: supported: 4, 8/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'another version',
    { settings: { checkpoint_format: 'marlin' } },
    /checkpoint_format "marlin" is not supported: supported: gptq, gptq_v2/,
  ],
  [
    'gptq-4-g32-asym-zero',
    '8 bits of which there are 4',
    { settings: { bits: 8 } },
    /qweight is \[\d+, 128\], which cannot hold 8-bit codes of \d+ inputs/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'groups that do not divide',
    { settings: { group_size: 48 } },
    /groups of 48 do not divide the 256 inputs/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'groups of another size',
    { settings: { group_size: 64 } },
    /scales is \[8, 128\], but \[4, 128\] fits/,
  ],
  ['gptq-4-g32-asym-zero', 'missing zeros', without('qzeros'), /qweight, but no .*qzeros/],
  ['gptq-4-g32-asym-zero', 'an infinite scale', spoilt('scales', ...infinite16), /value 511 of .*scales is not finite/],
  [
    'gptq-4-g32-asym-zero',
    'an input of no group',
    spoilt('g_idx', 4, 0, 0, 0),
    /g_idx puts input 127 into group 4, of 4 groups/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'an order that is promised',
    { settings: { desc_act: true }, ...without('g_idx') },
    /but no .*g_idx/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'a bias that the configuration knows nothing of',
    { tensors: (tensors) => tensors.set(`${layer}.bias`, { dtype: 'F16', shape: [1], bytes: Uint8Array.of(0, 60) }) },
    /q_proj\.bias is not zero, but the layer has no bias/,
  ],
  ['awq-g32', 'another version', { settings: { version: 'gemv' } }, /version "gemv" is not supported/],
  ['awq-g32', 'groups that do not divide', { settings: { group_size: 48 } }, /groups of 48 do not divide/],
  ['awq-g32', 'an infinite scale', spoilt('scales', ...infinite16), /scales is not finite/],
  ['ct-int4-g32-asym', 'another format', { settings: { format: 'marlin-24' } }, /format "marlin-24" is not supported/],
  ['ct-int4-g32-asym', 'a rotation', { settings: { transform_config: { config_groups: {} } } }, /transform_config/],
  ['ct-int4-g32-asym', 'quantised keys', { settings: { kv_cache_scheme: { num_bits: 8 } } }, /kv_cache_scheme/],
  [
    'ct-int4-g32-asym',
    'other zeros',
    reshaped('weight_zero_point', [15, 4]),
    /weight_zero_point is \[15, 4\], but \[16, 4\] fits/,
  ],
  [
    'ct-int4-g32-asym',
    'other words',
    reshaped('weight_packed', [128, 8]),
    /weight_packed is \[128, 8\], which cannot hold the \[128, 128\]/,
  ],
  [
    'ct-fp8-channel',
    'other scales',
    reshaped('weight_scale', [64, 1]),
    /weight_scale is \[64, 1\], but \[128, 1\] fits/,
  ],
  ['fp8-block', 'no blocks', { settings: { weight_block_size: [128] } }, /2 positive numbers for weight_block_size/],
  ['fp8-block', 'another kind', { settings: { fmt: 'e5m2' } }, /fmt "e5m2" is not supported/],
  [
    'fp8-block',
    'smaller blocks',
    { settings: { weight_block_size: [64, 64] } },
    /weight_scale_inv is \[2, 3\], but \[4, 6\] fits/,
  ],
  ['fp8-block', 'a value that is none', spoilt('weight', 0x7f), /value 65535 of .*q_proj\.weight is not finite/],
]

test.each(refusals.filter(([set]) => folderOf(set)))('%s with %s is refused', async (set, _, change, message) => {
  const folder = changed(set, change)
  const refused = expect.objectContaining({
    name: expect.stringMatching(/^(Usage|Input)Error$/),
    message: expect.stringMatching(message),
  })
  await expect(loadModel(folder, { device: device as 'cpu', dtype: 'float32' })).rejects.toThrow(refused)
})

test('nothing of a checkpoint with one unsound scale is loaded', async () => {
  const source = await ModelSource.open(changed('bnb-fp4', spoilt('weight.absmax', ...nan)))
  const before = liveBytes(testDevice())
  testDevice().resetPeak()
  expect(() => source.requireWeights()).toThrow('not finite')
  expect(testDevice().memory().peak).toBeLessThanOrEqual(before)
})

describe('a quantised checkpoint', () => {
  const set = 'bnb-fp4'
  const { sequences, logprobs } = goldenJson<{ sequences: number[][]; logprobs: number[][] }>(
    `quantised/${set}/expected.json`,
  )

  test('is told from another by its codes and its scales', async () => {
    const hashOf = async (change: Change) => (await ModelSource.open(changed(set, change))).identity()
    const own = await hashOf({})
    expect(own.format).toBe('fp4')
    expect(await hashOf({})).toEqual(own)
    for (const part of ['weight', 'weight.absmax', 'weight.quant_map']) {
      expect((await hashOf(spoilt(part, 1))).hash, part).not.toBe(own.hash)
    }
  })

  test('saves and merges as floats, and its configuration says so', async () => {
    using model = await loadFamily(folderOf(set)!)
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
    await mergeModel({ model: folderOf(set)!, adapter: join(at(), 'adapter'), output, dtype: 'float32' })
    using merged = await loadFamily(output)
    expect(largestDifference((await logProbsOf(merged, sequences)).flat(), wanted)).toBeLessThan(5e-5)
  })

  test('need not name bitsandbytes', async () => {
    const source = await ModelSource.open(changed(set, { settings: { quant_method: undefined } }))
    expect(source.storedDType()).toBe('fp4')
  })

  test('is shared over files', async () => {
    const folder = join(at(), 'sharded')
    cpSync(folderOf(set)!, folder, { recursive: true })
    const tensors = readRawTensors(join(folder, 'model.safetensors'))
    const halves = [...tensors.keys()].map(
      (name, i) => [name, `model-0000${(i % 2) + 1}-of-00002.safetensors`] as const,
    )
    for (const file of new Set(halves.map(([, file]) => file))) {
      const own = halves.filter(([, other]) => other === file).map(([name]) => [name, tensors.get(name)!] as const)
      writeRawTensors(join(folder, file), new Map(own))
    }
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: Object.fromEntries(halves) }),
    )
    rmSync(join(folder, 'model.safetensors'))
    using model = await loadFamily(folder)
    expect(largestDifference((await logProbsOf(model, sequences)).flat(), logprobs.flat())).toBeLessThan(5e-5)
  })
})
