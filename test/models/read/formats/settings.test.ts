/** Equivalent forms of `quantization_config`, and settings that are refused. */
import { afterAll, describe, expect, test } from 'vitest'
import { type RandomStream, randomStream } from '../../../../lib/common/random.js'
import { useTemporaryFolder } from '../../../io/temporary.js'
import { liveBytes } from '../../../live-bytes.js'
import { testDevice } from '../../../operations/harness.js'
import { awq, bnb4, compressed, type Encoded, fp8, gptq, layer, nvfp4 } from './encoders.js'
import { readEncoded } from './read-encoded.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const made = (encode: (random: RandomStream) => Encoded) => encode(randomStream(7, 'test', 'settings'))
const samples = {
  bnb4: made((random) => bnb4(random, { rows: 8, columns: 96 })),
  gptq: made((random) => gptq(random, { rows: 16, columns: 96 })),
  gptqColumn: made((random) => gptq(random, { rows: 16, columns: 96, group: -1, version: 2 })),
  awq: made((random) => awq(random, { rows: 16, columns: 96 })),
  groups: made((random) => compressed(random, { rows: 9, columns: 96, symmetric: false })),
  ordered: made((random) => compressed(random, { rows: 9, columns: 96, ordered: true })),
  channels: made((random) => compressed(random, { rows: 9, columns: 96, strategy: 'channel' })),
  tensor: made((random) => compressed(random, { rows: 9, columns: 96, strategy: 'tensor' })),
  blocks: made((random) => {
    const floats = { format: 'float-quantized', type: 'float', bits: 8 } as const
    return compressed(random, { rows: 70, columns: 40, ...floats, strategy: 'block', block: [32, 16] })
  }),
  fp8: made((random) => fp8(random, { rows: 130, columns: 140 })),
  nvfp4: made((random) => nvfp4(random, { rows: 9, columns: 96 })),
  fp8Tensor: made((random) => fp8(random, { rows: 9, columns: 33, block: null, name: 'weight_scale' })),
}

type Settings = Record<string, unknown>
type Change = (settings: Settings) => object
const weights =
  (change: object): Change =>
  (settings) => {
    const { group_0: group } = settings.config_groups as { group_0: { weights: object } }
    return { ...settings, config_groups: { group_0: { ...group, weights: { ...group.weights, ...change } } } }
  }
const others =
  (change: object): Change =>
  (settings) => ({ ...settings, ...change })
/** Schemes of other layers before that of this one. */
const after =
  (...schemes: object[]): Change =>
  (settings) => {
    const before = schemes.map((scheme, i) => [`other_${i}`, { targets: ['re:.*down_proj'], weights: scheme }])
    return { ...settings, config_groups: { ...Object.fromEntries(before), ...(settings.config_groups as object) } }
  }

const same: readonly [sample: keyof typeof samples, what: string, change: Change][] = [
  ['bnb4', 'no method', ({ quant_method: _, ...rest }) => rest],
  ['bnb4', 'its method in another case', others({ quant_method: 'BitsAndBytes' })],
  ['gptq', 'words in another case', others({ quant_method: 'GPTQ', checkpoint_format: 'GPTQ', pack_dtype: 'INT32' })],
  ['gptq', 'no size of groups', ({ group_size: _, ...rest }) => rest],
  ['gptq', 'nothing but method and bits', ({ quant_method, bits }) => ({ quant_method, bits })],
  ['gptqColumn', 'no size of groups', ({ group_size: _, ...rest }) => rest],
  ['awq', 'words in another case', others({ quant_method: 'AWQ', version: 'GEMM' })],
  ['awq', 'no version', ({ version: _, ...rest }) => rest],
  ['groups', 'the status of older files', others({ quantization_status: 'frozen' })],
  ['groups', 'no status', others({ quantization_status: null })],
  ['groups', 'words in another case', weights({ type: 'INT', strategy: 'Group' })],
  ['groups', 'no strategy', weights({ strategy: null })],
  ['groups', 'no type', weights({ type: undefined })],
  ['ordered', 'order that is true', weights({ actorder: true })],
  ['ordered', 'order by its other name', weights({ actorder: 'dynamic' })],
  ['channels', 'no strategy but groups of -1', weights({ strategy: null, group_size: -1 })],
  ['tensor', 'no strategy', weights({ strategy: null })],
  ['blocks', 'blocks in a word', weights({ block_structure: '32x16' })],
  [
    'groups',
    'schemes of other layers',
    after(
      { num_bits: 4, strategy: 'group', group_size: 64 },
      { num_bits: 8, type: 'float', strategy: 'channel' },
      { num_bits: 4, strategy: 'channel' },
    ),
  ],
  ['groups', 'layers whose weights are not quantised', after({ num_bits: 8, strategy: 'tensor' })],
  ['fp8', 'no size of blocks', ({ weight_block_size: _, ...rest }) => rest],
  ['fp8', 'its floats in another case', others({ fmt: 'E4M3' })],
  ['nvfp4', 'words in another case', others({ quant_method: 'ModelOpt', quant_algo: 'nvfp4' })],
  ['fp8Tensor', 'no size of blocks', ({ weight_block_size: _, ...rest }) => rest],
]

test.each(same)('%s with %s is the same', async (name, _, change) => {
  const { settings, tensors, values } = samples[name]
  using weight = await readEncoded(at(), { settings: change(settings as Settings), tensors })
  const got = await weight.data()
  expect(Math.max(...got.map((value, i) => Math.abs(value - values[i]!) / (Math.abs(values[i]!) || 1)))).toBeLessThan(
    2 ** -22,
  )
})

const refused: readonly [sample: keyof typeof samples, what: string, change: Change, message: RegExp][] = [
  ['gptq', '2 bits', others({ bits: 2 }), /bits 2 is not supported: supported: 4, 8/],
  ['gptq', 'groups that do not divide', others({ group_size: 40 }), /groups of 40 do not divide the 96 inputs/],
  ['gptq', 'groups of nothing', others({ group_size: 0 }), /a positive integer .* group_size but found 0/],
  ['awq', 'another version', others({ version: 'GEMV' }), /version "gemv" is not supported/],
  ['groups', 'a sparse format', others({ format: 'marlin-24' }), /format "marlin-24" is not supported/],
  ['groups', '4-bit floats', others({ format: 'nvfp4-pack-quantized' }), /"nvfp4-pack-quantized" is not supported/],
  ['groups', 'weights that are not compressed', others({ quantization_status: 'calibration' }), /"calibration" is not/],
  ['groups', '3 bits', weights({ num_bits: 3 }), /group_0\.weights: num_bits 3 is not supported: supported: 4, 8/],
  ['groups', 'a scheme by its name', others({ config_groups: { W4A16: ['Linear'] } }), /config_groups\.W4A16\.weights/],
  ['groups', 'heads', weights({ strategy: 'attn_head' }), /strategy "attn_head" is not supported/],
  ['groups', 'groups that do not divide', weights({ group_size: 40 }), /groups of 40 do not divide the 96 inputs/],
  ['groups', 'other groups', weights({ group_size: 48 }), /weight_scale is \[9, 3\], but \[9, 2\] fits/],
  ['groups', 'an unknown order', weights({ actorder: 'random' }), /actorder "random" is not supported/],
  [
    'blocks',
    'blocks of half a row',
    weights({ block_structure: [32.5, 16] }),
    /2 positive integers for block_structure/,
  ],
  [
    'fp8',
    'blocks of half a column',
    others({ weight_block_size: [128, 100.5] }),
    /2 positive integers for weight_block/,
  ],
  ['fp8', 'one scale for all', others({ weight_block_size: null }), /scale_inv is \[2, 2\], but \[1, 1\] fits/],
]

test.each(refused)('%s with %s is refused', async (name, _, change, message) => {
  const { settings, tensors } = samples[name]
  await expect(readEncoded(at(), { settings: change(settings as Settings), tensors })).rejects.toThrow(message)
})

describe('NVFP4', () => {
  const { settings, tensors } = samples.nvfp4
  const changed = (name: string, shape: number[], bytes: (old: Uint8Array) => Uint8Array) => {
    const found = tensors.get(`${layer}.${name}`)!
    return new Map(tensors).set(`${layer}.${name}`, { ...found, shape, bytes: bytes(found.bytes) })
  }

  test.each([
    [
      'a scale that is NaN',
      changed('weight_scale', [9, 6], (old) => old.map((code, i) => (i === 4 ? 0x7f : code))),
      /value 4 of .*weight_scale is/,
    ],
    ['other groups', changed('weight_scale', [9, 3], (old) => old.slice(27)), /\[9, 3\], but \[9, 6\] fits/],
    ['two scales for all', changed('weight_scale_2', [2], () => new Uint8Array(8)), /weight_scale_2 is \[2\], but one/],
    ['NaN for all', changed('weight_scale_2', [], () => new Uint8Array(4).fill(0xff)), /weight_scale_2 is not finite/],
    [
      'inputs that are scaled first',
      new Map(tensors).set(`${layer}.pre_quant_scale`, { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }),
      /pre_quant_scale .* is not supported: its inputs would have to be scaled first/,
    ],
  ])('with %s is refused', async (_, damaged, message) => {
    await expect(readEncoded(at(), { settings, tensors: damaged })).rejects.toThrow(message)
  })
})

describe('zeros', () => {
  test('of 8-bit floats are refused unless they are zero', async () => {
    const { settings, tensors } = samples.blocks
    const with_ = (byte: number) =>
      new Map(tensors).set(`${layer}.weight_zero_point`, {
        dtype: 'F8_E4M3',
        shape: [3, 3],
        bytes: new Uint8Array(9).fill(byte, 8),
      })
    using weight = await readEncoded(at(), { settings, tensors: with_(0x80) })
    expect(weight.storage).toBe('compressed-fp8')
    await expect(readEncoded(at(), { settings, tensors: with_(1) })).rejects.toThrow(
      /weight_zero_point is not zero, which is not supported of floats/,
    )
  })

  test('in bytes that exceed 4 bits are refused', async () => {
    const { settings, tensors } = made((random) =>
      compressed(random, { rows: 9, columns: 96, symmetric: false, zeros: 'bytes' }),
    )
    tensors.get(`${layer}.weight_zero_point`)!.bytes[5] = 8
    await expect(readEncoded(at(), { settings, tensors })).rejects.toThrow(
      /value 5 of .*weight_zero_point is 8, which 4 bits cannot represent/,
    )
  })
})
