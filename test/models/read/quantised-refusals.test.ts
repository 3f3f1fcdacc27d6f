/** Quantised checkpoints that are refused, with the message. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadModel } from '../../../lib/models/index.js'
import { requireFiniteScales } from '../../../lib/models/read/file-tensor.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import { type BlockDType, native } from '../../../lib/native/addon.js'
import { goldenPath } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'
import { type Change, changedSet, lacksSet, layer, nan, reshaped, spoilt, stateOf, without } from './quantised-sets.js'

const at = useTemporaryFolder()
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const changed = (set: string, change: Change): string => changedSet(join(at(), 'changed'), set, change)

const infinite16 = [0, 0x7c]
const fp4 = 'weight.quant_state.bitsandbytes__fp4'

const refusals: readonly [set: string, what: string, change: Change, message: RegExp][] = [
  [
    'bnb-fp4',
    'an unknown method',
    { settings: { quant_method: 'aqlm' } },
    /quant_method "aqlm".*supported: bitsandbytes, gptq, awq/,
  ],
  [
    'gptq-4-g32-asym-zero',
    'no method',
    { settings: { quant_method: null } },
    /expected bitsandbytes, .* for quant_method but found none/,
  ],
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
  ['fp8-block', 'no blocks', { settings: { weight_block_size: [128] } }, /2 positive integers for weight_block_size/],
  ['fp8-block', 'another kind', { settings: { fmt: 'e5m2' } }, /fmt "e5m2" is not supported/],
  [
    'fp8-block',
    'smaller blocks',
    { settings: { weight_block_size: [64, 64] } },
    /weight_scale_inv is \[2, 3\], but \[4, 6\] fits/,
  ],
  ['fp8-block', 'a value that is none', spoilt('weight', 0x7f), /value 65535 of .*q_proj\.weight is not finite/],
]

for (const [set, what, change, message] of refusals)
  needing(lacksSet(set)).test(`${set} with ${what} is refused`, async () => {
    const folder = changed(set, change)
    const refused = expect.objectContaining({
      name: expect.stringMatching(/^(Usage|Input)Error$/),
      message: expect.stringMatching(message),
    })
    await expect(loadModel(folder, { device: device as 'cpu', dtype: 'float32' })).rejects.toThrow(refused)
  })

/** Bytes of a block, and the offset of its scales. */
const blocks: readonly [format: BlockDType, columns: number, bytes: number, places: readonly number[]][] = [
  ['q4_0', 32, 18, [0]],
  ['q4_1', 32, 20, [0, 2]],
  ['q5_0', 32, 22, [0]],
  ['q5_1', 32, 24, [0, 2]],
  ['q8_0', 32, 34, [0]],
  ['q2_k', 256, 84, [80, 82]],
  ['q3_k', 256, 110, [108]],
  ['q4_k', 256, 144, [0, 2]],
  ['q5_k', 256, 176, [0, 2]],
  ['q6_k', 256, 210, [208]],
  ['iq4_nl', 32, 18, [0]],
  ['iq4_xs', 256, 136, [0]],
  ['tq1_0', 256, 54, [52]],
  ['tq2_0', 256, 66, [64]],
]

test.each(blocks)(
  'blocks of %s are refused exactly if their values are not finite',
  async (format, columns, size, places) => {
    const path = join(at(), 'blocks')
    const count = 3
    const isSound = async (bytes: Uint8Array) => {
      const raw = native.fromArray(testDevice(), format, [count, columns], bytes)
      const values = native.empty(testDevice(), 'float32', [count, columns])
      native.dequantise(raw, values)
      const all = (await values.read()) as Float32Array
      for (const made of [raw, values]) made.dispose()
      return all.every(Number.isFinite)
    }
    const check = (bytes: Uint8Array) => {
      writeFileSync(path, bytes)
      requireFiniteScales({ name: 'a.weight', path, dtype: format, shape: [], offset: 0, bytes: bytes.length })
    }
    // Codes of ones, and scales of 1 in float16.
    const sound = new Uint8Array(count * size).fill(0x11)
    for (let block = 0; block < count; block++) for (const place of places) sound.set([0, 0x3c], block * size + place)
    expect(await isSound(sound)).toBe(true)
    check(sound)
    for (const place of places) {
      for (const bits of [
        [0, 0x7c],
        [0, 0xfc],
        [1, 0x7e],
      ]) {
        const bytes = sound.slice()
        bytes.set(bits, 2 * size + place)
        expect(await isSound(bytes), `a scale at ${place}`).toBe(false)
        expect(() => check(bytes)).toThrow(`blocks: a scale of block 2 of a.weight (${format}) is not finite.`)
      }
    }
  },
)

test('the first of many blocks with such a scale is named, however far from the start', () => {
  const path = join(at(), 'blocks')
  const bytes = new Uint8Array(40_000 * 18)
  for (const block of [39_999, 31_234]) bytes.set([0, 0x7c], block * 18)
  writeFileSync(path, bytes)
  const stored = { name: 'a.weight', path, dtype: 'q4_0', shape: [], offset: 0, bytes: bytes.length } as const
  expect(() => requireFiniteScales(stored)).toThrow('a scale of block 31234 of a.weight (q4_0)')
})

test('if threads check parts of many blocks, the first bad one of all is named', () => {
  const path = join(at(), 'blocks')
  const [count, start] = [1_000_003, 7]
  const sound = new Uint8Array(start + count * 18)
  const stored = { name: 'a.weight', path, dtype: 'q4_0', shape: [], offset: start, bytes: count * 18 } as const
  const check = (...blocks: readonly number[]) => {
    const bytes = sound.slice()
    for (const block of blocks) bytes.set([0, 0x7c], start + block * 18)
    writeFileSync(path, bytes)
    requireFiniteScales(stored)
  }
  check()
  for (const block of [0, 14_562, 14_563, 499_999, 500_001, count - 1])
    expect(() => check(block, count - 1)).toThrow(`a scale of block ${block} of a.weight (q4_0)`)
  writeFileSync(path, sound.subarray(0, -1))
  expect(() => requireFiniteScales(stored)).toThrow(`blocks ends at byte ${sound.length - 1}, but`)
})

test('a GGUF file with one scale that is not finite is refused before memory is allocated', async () => {
  const path = join(at(), 'model.gguf')
  using floats = await loadModel(goldenPath('tiny-untied/model'), { device: device as 'cpu', dtype: 'float32' })
  await floats.save(path, { dtype: 'q8_0' })
  const { weights } = await ModelSource.open(path)
  const name = 'model.layers.0.mlp.up_proj.weight'
  const { offset, dtype } = weights.get(name)!.tensors[0]!
  expect(dtype).toBe('q8_0')
  const bytes = readFileSync(path)
  bytes.set([0, 0x7c], offset + 34 * 5)
  writeFileSync(path, bytes)
  const before = liveBytes(testDevice())
  testDevice().resetPeak()
  for (const quantised of [true, false]) {
    const loading = loadModel(path, { device: device as 'cpu', quantised })
    await expect(loading).rejects.toThrow(`a scale of block 5 of ${name} (q8_0) is not finite.`)
  }
  expect(testDevice().memory().peak).toBeLessThanOrEqual(before)
})

test('experts in MXFP4 are refused by name, and the message says what to use instead', async () => {
  const config = { model_type: 'gpt_oss', num_local_experts: 4, quantization_config: { quant_method: 'mxfp4' } }
  writeFileSync(join(at(), 'config.json'), JSON.stringify(config))
  const refused = expect.objectContaining({
    code: 'unsupported-architecture',
    message: expect.stringMatching(/architecture gpt_oss is not supported; .*take a model that has none\.$/),
  })
  await expect(loadModel(at(), { device: device as 'cpu' })).rejects.toThrow(refused)
})

test('a checkpoint with one bad scale is not loaded at all', async () => {
  const source = await ModelSource.open(changed('bnb-fp4', spoilt('weight.absmax', ...nan)))
  const before = liveBytes(testDevice())
  testDevice().resetPeak()
  expect(() => source.requireWeights()).toThrow('not finite')
  expect(testDevice().memory().peak).toBeLessThanOrEqual(before)
})
