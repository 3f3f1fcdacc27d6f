/** Layouts of quantised weights that tools write and the golden data lacks, against float64. */
import { afterAll, describe, expect, test } from 'vitest'
import { type RandomStream, randomStream } from '../../../../lib/common/random.js'
import { scope } from '../../../../lib/tensor/scope.js'
import { Tensor } from '../../../../lib/tensor/tensor.js'
import { useTemporaryFolder } from '../../../io/temporary.js'
import { liveBytes } from '../../../live-bytes.js'
import { testDevice } from '../../../operations/harness.js'
import { awq, bnb4, compressed, type Encoded, fp8, gptq, llmInt8, modeloptFp8, nvfp4 } from './encoders.js'
import { readEncoded } from './read-encoded.js'

const device = testDevice()
const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

type Case = readonly [name: string, encode: (random: RandomStream) => Encoded]
const casesOf = <Options>(
  format: string,
  encode: (random: RandomStream, options: Options) => Encoded,
  all: readonly Options[],
): Case[] => all.map((options) => [`${format} ${JSON.stringify(options)}`, (random) => encode(random, options)])

const cases: readonly Case[] = [
  ...casesOf('bitsandbytes', bnb4, [
    { rows: 7, columns: 90 },
    { rows: 5, columns: 6, block: 4096 },
    { rows: 33, columns: 130, block: 128, type: 'fp4' },
    { rows: 12, columns: 96, block: 32 },
    { rows: 50, columns: 96, block: 256, storage: 'F32' },
    { rows: 9, columns: 64, block: 512, storage: 'F16' },
    { rows: 40, columns: 250, block: 1024, type: 'fp4', nested: { block: 256, offset: 0.0625 } },
    { rows: 70, columns: 250, nested: { block: 256, offset: -0.3 } },
    { rows: 6, columns: 64, block: 64, nested: { block: 4, offset: 0 }, storage: 'BF16' },
    { rows: 10, columns: 416, block: 2048, storage: 'I8' },
  ]),
  ...casesOf('LLM.int8', llmInt8, [
    { rows: 9, columns: 33 },
    { rows: 40, columns: 7, format: false, threshold: 0 },
    { rows: 1, columns: 1 },
  ]),
  ...casesOf('GPTQ', gptq, [
    { rows: 24, columns: 96 },
    { rows: 8, columns: 32, symmetric: true },
    { rows: 40, columns: 224, group: 32, ordered: true },
    { rows: 32, columns: 192, group: 64, version: 2 },
    { rows: 16, columns: 384, group: 128, version: 2, ordered: true, symmetric: true },
    { rows: 56, columns: 136, group: -1 },
    { rows: 56, columns: 136, group: -1, indices: false, version: 2, scale: 'BF16' },
    { rows: 12, columns: 96, bits: 8 },
    { rows: 20, columns: 160, bits: 8, ordered: true, version: 2, scale: 'F32' },
    { rows: 4, columns: 36, bits: 8, group: -1, symmetric: true },
    // The last group has fewer inputs.
    { rows: 16, columns: 96, group: 64 },
    { rows: 16, columns: 96, group: 64, ordered: true, version: 2 },
    { rows: 32, columns: 160, group: 128, bits: 8 },
  ]),
  ...casesOf('AWQ', awq, [
    { rows: 24, columns: 96 },
    { rows: 8, columns: 64, group: 64 },
    { rows: 40, columns: 384, group: 128 },
    { rows: 16, columns: 50, group: -1 },
  ]),
  ...casesOf('compressed-tensors', compressed, [
    { rows: 9, columns: 96 },
    { rows: 33, columns: 192, group: 64, symmetric: false },
    { rows: 40, columns: 384, group: 128, ordered: true, symmetric: false },
    { rows: 7, columns: 128, bits: 8, symmetric: false, scale: 'F16' },
    { rows: 11, columns: 90, strategy: 'channel' },
    { rows: 11, columns: 90, strategy: 'channel', symmetric: false },
    { rows: 6, columns: 26, strategy: 'channel', bits: 8, symmetric: false },
    { rows: 13, columns: 36, strategy: 'tensor', scale: 'F32' },
    { rows: 13, columns: 36, strategy: 'tensor', symmetric: false, zeros: 'bytes' },
    { rows: 9, columns: 96, symmetric: false, zeros: 'bytes' },
    { rows: 9, columns: 24, group: 12, bits: 4 },
    // Fewer inputs than a group has.
    { rows: 9, columns: 24, group: 64, symmetric: false },
    { rows: 11, columns: 45, format: 'int-quantized', bits: 8, strategy: 'channel' },
    { rows: 11, columns: 45, format: 'int-quantized', bits: 8, strategy: 'channel', symmetric: false },
    { rows: 11, columns: 45, format: 'int-quantized', bits: 8, strategy: 'tensor', symmetric: false },
    { rows: 12, columns: 96, format: 'int-quantized', bits: 8, strategy: 'group', group: 32, symmetric: false },
    { rows: 12, columns: 96, format: 'naive-quantized', bits: 4, strategy: 'group', group: 32 },
    { rows: 12, columns: 96, format: 'naive-quantized', bits: 8, group: 32, ordered: true, symmetric: false },
    { rows: 12, columns: 96, format: 'naive-quantized', type: 'float', bits: 8, group: 32, ordered: true },
    { rows: 12, columns: 45, format: 'naive-quantized', type: 'float', bits: 8, strategy: 'tensor', scale: 'F32' },
    { rows: 12, columns: 45, format: 'float-quantized', type: 'float', bits: 8, strategy: 'channel' },
    { rows: 12, columns: 96, format: 'float-quantized', type: 'float', bits: 8, strategy: 'group', group: 32 },
    { rows: 70, columns: 45, format: 'float-quantized', type: 'float', bits: 8, strategy: 'block', block: [32, 16] },
    { rows: 70, columns: 45, format: 'int-quantized', bits: 8, strategy: 'block', block: [32, 16], symmetric: false },
  ]),
  ...casesOf('FP8', fp8, [
    { rows: 130, columns: 130 },
    { rows: 128, columns: 129, scale: 'BF16' },
    { rows: 40, columns: 300 },
    { rows: 96, columns: 96, block: [64, 32] },
    { rows: 9, columns: 33, block: null },
    { rows: 9, columns: 33, block: null, scale: 'BF16', name: 'weight_scale' },
  ]),
  ...casesOf('NVFP4', nvfp4, [
    { rows: 9, columns: 96 },
    { rows: 40, columns: 16, scaleShape: [1] },
    { rows: 33, columns: 1040, algorithm: 'W4A16_NVFP4' },
    { rows: 1, columns: 32, algorithm: 'MIXED_PRECISION' },
  ]),
  ...casesOf('FP8 of Model Optimizer', modeloptFp8, [
    { rows: 12, columns: 45 },
    { rows: 33, columns: 130, byOutput: true },
  ]),
]

/** The expected product, and the sum of its terms' magnitudes. */
function product(left: Float32Array, right: Float64Array, [rows, inner, columns]: readonly number[], turn: boolean) {
  const [sums, sizes] = [new Float64Array(rows! * columns!), new Float64Array(rows! * columns!)]
  for (let row = 0; row < rows!; row++)
    for (let column = 0; column < columns!; column++)
      for (let i = 0; i < inner!; i++) {
        const term = left[row * inner! + i]! * right[turn ? column * inner! + i : i * columns! + column]!
        sums[row * columns! + column]! += term
        sizes[row * columns! + column]! += Math.abs(term)
      }
  return { sums, sizes }
}

describe.each(cases)('%s', (name, encode) => {
  const encoded = encode(randomStream(3, 'test', name))
  const [rows, columns] = encoded.shape

  test('values match its definition, rounded once', async () => {
    using weight = await readEncoded(at(), encoded)
    expect(weight.shape).toEqual([rows, columns])
    const got = await weight.data()
    const errors = got.map((value, i) => Math.abs(value - encoded.values[i]!) / (Math.abs(encoded.values[i]!) || 1))
    expect(Math.max(...errors)).toBeLessThanOrEqual(2 ** -22)
  })

  test.each([1, 5, 40])('products of %d rows, forward and back', async (tokens) => {
    using weight = await readEncoded(at(), encoded)
    const random = randomStream(4, 'test', name)
    for (const isForward of [true, false]) {
      const [inner, outer] = isForward ? [columns, rows] : [rows, columns]
      const left = Float32Array.from({ length: tokens * inner }, () => random.normal())
      const got = scope(() => {
        const [x, y] = [Tensor.from(left, [tokens, inner], { device }), Tensor.empty([tokens, outer], { device })]
        if (isForward) weight.multiply(x, y, 1, false)
        else weight.multiplyGradient(x, y, 1, false)
        return y
      })
      const values = await got.data()
      got.dispose()
      const { sums, sizes } = product(left, encoded.values, [tokens, inner, outer], isForward)
      const errors = values.map((value, i) => Math.abs(value - sums[i]!) / (sizes[i]! || 1))
      expect(Math.max(...errors), isForward ? 'forward' : 'back').toBeLessThan(2e-6)
    }
  })
})
