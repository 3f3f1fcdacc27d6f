/**
 * Products with weights in GGUF's block formats, against float64 products of the blocks' values. Blocks are drawn from those of
 * test/golden.
 */

import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { blockBytes, blockValues } from '../../lib/io/stored-dtype.js'
import { type BlockDType, type FloatDType, native } from '../../lib/native/addon.js'
import { drawn } from '../drawn.js'
import { goldenPath, readTensors } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { decode, encode, testDevice } from '../operations/harness.js'

const device = testDevice()
const tensors = readTensors(goldenPath('gguf-blocks.safetensors'))
const formats = [...tensors.keys()].flatMap((name) => (/^(?!B?F16).*\.raw$/.test(name) ? [name.slice(0, -4)] : []))
/** Up to this many rows are multiplied with blocks as stored; more rows, with their values in the activations' dtype. */
const fewRows = 8
/** Half of a unit in the last place. */
const rounding = { float32: 2 ** -24, bfloat16: 2 ** -9, float16: 2 ** -11 }

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

interface Sizes {
  readonly rows: number
  readonly outputs: number
  /** Blocks in a row of the weight. */
  readonly blocks: number
  readonly dtype: FloatDType
  /** Factor of a product that is added to a float32 result. */
  readonly added?: number
}

/** Largest error of a product as a share of the allowed one: 1 is the bound. */
async function errorOfProduct(name: string, { rows, outputs, blocks, dtype, added }: Sizes): Promise<number> {
  const format = name.toLowerCase() as BlockDType
  const random = randomStream(1, 'test', `${name} ${rows} ${outputs} ${blocks}`)
  const pool = tensors.get(`${name}.raw`)!.bytes
  const size = blockBytes(format)
  // The weight has one more row and everything one more column than takes part.
  const [depth, stride] = [blocks * blockValues(format), (blocks + 1) * blockValues(format)]
  const bytes = new Uint8Array((outputs + 1) * (blocks + 1) * size)
  for (let at = 0; at < bytes.length; at += size) {
    const from = Math.floor(random.uniform() * (pool.length / size)) * size
    bytes.set(pool.subarray(from, from + size), at)
  }
  const storage = native.fromArray(device, format, [outputs + 1, stride], bytes)
  const weight = storage.view([outputs, depth], [stride, 1], stride)
  const exact = native.empty(device, 'float32', [outputs + 1, stride])
  native.dequantise(storage, exact)
  const all = (await exact.read()) as Float32Array

  // Outliers, as activations have them, and groups of zeros; small, since weights go up to 1000 and float16 to 65504.
  const magnitude = Float64Array.from({ length: rows * depth }, (_, i) => [1, 30, 0, 0.1][(i >> 5) % 4]! / 256)
  const activations = decode(
    encode(
      magnitude.map((scale) => scale * random.normal()),
      dtype,
    ),
    dtype,
  )
  const a = native.fromArray(device, dtype, [rows, depth], encode(activations, dtype))
  const result = added === undefined ? dtype : 'float32'
  const before = new Float64Array(rows * (outputs + 3)).map(() => Math.fround(random.normal()))
  const whole = native.fromArray(device, result, [rows, outputs + 3], encode(before, result))
  const c = whole.view([rows, outputs], [outputs + 3, 1], 2)
  native.matmul({ a, b: weight, transposeB: true, c, alpha: added ?? 1, accumulate: added !== undefined })
  const got = decode(await whole.read(), result)

  const asStored = rows <= fewRows
  const w = Float64Array.from(all)
  const rounded = asStored ? w : decode(encode(w, dtype), dtype)
  const kept = decode(encode(before, result), result)
  let worst = 0
  for (let row = 0; row < rows; row++) {
    for (let output = 0; output < outputs; output++) {
      let [sum, sizes, allowed] = [0, 0, 0]
      for (let group = 0; group < depth; group += 32) {
        let [largest, weights] = [0, 0]
        for (let i = group; i < group + 32; i++) {
          const [x, value] = [activations[row * depth + i]!, rounded[(output + 1) * stride + i]!]
          sum += x * value
          sizes += Math.abs(x * value)
          largest = Math.max(largest, Math.abs(x))
          weights += Math.abs(value)
        }
        // Half a step of activations in fixed point, and the rounding of the scale and its quotient.
        if (asStored) allowed += (largest / 65278) * 1.01 * weights
      }
      const at = row * (outputs + 3) + output + 2
      const wanted = added === undefined ? sum : added * sum + before[at]!
      allowed = allowed * Math.abs(added ?? 1) + 4e-6 * sizes + 2.02 * rounding[result] * Math.abs(wanted) + 2 ** -24
      worst = Math.max(worst, Math.abs(got[at]! - wanted) / allowed)
    }
    const outside = [0, 1, outputs + 2].map((column) => row * (outputs + 3) + column)
    for (const at of outside) expect(got[at], 'what lies beside the result').toBe(kept[at])
  }
  for (const tensor of [storage, weight, exact, a, whole, c]) tensor.dispose()
  return worst
}

test('rows that are summed as if they were alone do not depend on others', async () => {
  const [rows, outputs, depth] = [8, 37, 256]
  const random = randomStream(1, 'test', 'rows alone')
  const pool = tensors.get('Q4_1.raw')!.bytes
  const size = ((outputs * depth) / 32) * blockBytes('q4_1')
  const weight = native.fromArray(
    device,
    'q4_1',
    [outputs, depth],
    Uint8Array.from({ length: size }, (_, i) => pool[i % (pool.length - (pool.length % 20))]!),
  )
  const a = native.fromArray(
    device,
    'float32',
    [rows, depth],
    Float32Array.from({ length: rows * depth }, () => random.normal() / 256),
  )
  const together = native.empty(device, 'float32', [rows, outputs])
  const apart = native.empty(device, 'float32', [rows, outputs])
  device.setRowsAlone(true)
  native.matmul({ a, b: weight, transposeB: true, c: together })
  for (let row = 0; row < rows; row++) {
    const own = a.view([1, depth], [depth, 1], row * depth)
    const c = apart.view([1, outputs], [outputs, 1], row * outputs)
    native.matmul({ a: own, b: weight, transposeB: true, c })
    for (const tensor of [own, c]) tensor.dispose()
  }
  device.setRowsAlone(false)
  // A GPU sums rows in an order of its own.
  if (device.kind === 'cpu') expect(await together.read()).toEqual(await apart.read())
  for (const tensor of [weight, a, together, apart]) tensor.dispose()
})

describe.each(formats)('%s', (format) => {
  const rows = [1, 2, 3, 4, 5, 6, 7, 8, 9]
  test.each(drawn(`rows of ${format}`, rows, 2))('%i rows in every dtype', async (rows) => {
    for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
      expect(await errorOfProduct(format, { rows, outputs: 13, blocks: 3, dtype }), dtype).toBeLessThan(1)
    }
  })

  const sizes = [
    { rows: 1, outputs: 1, blocks: 1 },
    { rows: 1, outputs: 67, blocks: 2 },
    { rows: 3, outputs: 389, blocks: 5 },
    { rows: 0, outputs: 4, blocks: 1 },
    { rows: 33, outputs: 150, blocks: 2 },
    { rows: 1030, outputs: 70, blocks: 1 },
  ]
  test.each(drawn(`sizes of ${format}`, sizes, 1))(
    '$rows rows, $outputs outputs, $blocks blocks, added in float32',
    async (sizes) => {
      for (const dtype of ['float32', 'bfloat16'] as const)
        expect(await errorOfProduct(format, { ...sizes, dtype, added: -1.5 }), dtype).toBeLessThan(1)
    },
  )
})

/**
 * Weights whose values are computed in more than one panel: of columns, at least two blocks wide in float32, and of rows, since
 * panels of columns would be narrower than 256.
 */
const panels = [
  { of: 'columns', names: formats, outputs: 2100, blocksOf: () => 7 },
  { of: 'rows', names: ['Q4_1', 'Q4_K'], outputs: 9000, blocksOf: (values: number) => 256 / values },
]
const results = [
  { dtype: 'float32', result: 'float32' },
  { dtype: 'bfloat16', result: 'float32' },
  { dtype: 'bfloat16', result: 'bfloat16' },
] as const

describe.each(panels)('gradients in panels of $of', ({ of, names, outputs, blocksOf }) => {
  test.each(drawn(`formats in panels of ${of}`, names, 2))('%s', async (name) => {
    const format = name.toLowerCase() as BlockDType
    const random = randomStream(1, 'test', `gradient ${name}`)
    const [values, size] = [blockValues(format), blockBytes(format)]
    const blocks = blocksOf(values)
    const [depth, stride] = [blocks * values, (blocks + 1) * values]
    const pool = tensors.get(`${name}.raw`)!.bytes
    const bytes = new Uint8Array(outputs * (blocks + 1) * size)
    for (let at = 0; at < bytes.length; at += size) {
      const from = Math.floor(random.uniform() * (pool.length / size)) * size
      bytes.set(pool.subarray(from, from + size), at)
    }
    const storage = native.fromArray(device, format, [outputs, stride], bytes)
    const weight = storage.view([outputs, depth], [stride, 1], values)
    const exact = native.empty(device, 'float32', [outputs, stride])
    native.dequantise(storage, exact)
    const w = (await exact.read()) as Float32Array
    for (const { dtype, result } of results) {
      const given = encode(
        Float64Array.from({ length: 3 * outputs }, () => random.normal() / 64),
        dtype,
      )
      const dY = native.fromArray(device, dtype, [3, outputs], given)
      const there = encode(
        Float64Array.from({ length: 3 * depth }, () => random.normal()),
        result,
      )
      const before = decode(there, result)
      const added = native.fromArray(device, result, [3, depth], there)
      const alone = native.empty(device, result, [3, depth])
      native.matmul({ a: dY, b: weight, c: added, alpha: 0.5, accumulate: true })
      native.matmul({ a: dY, b: weight, c: alone, alpha: 0.5 })
      const [gotAdded, gotAlone] = [decode(await added.read(), result), decode(await alone.read(), result)]
      const numbers = decode(given, dtype)
      const rounded = dtype === 'float32' ? w : decode(encode(Float64Array.from(w), dtype), dtype)
      let worst = 0
      for (let row = 0; row < 3; row++) {
        const [sums, sizes] = [new Float64Array(depth), new Float64Array(depth)]
        for (let output = 0; output < outputs; output++) {
          const number = numbers[row * outputs + output]!
          for (let column = 0; column < depth; column++) {
            const product = number * rounded[output * stride + values + column]!
            sums[column]! += product
            sizes[column]! += Math.abs(product)
          }
        }
        for (let column = 0; column < depth; column++) {
          const [at, wanted] = [row * depth + column, 0.5 * sums[column]!]
          const error = (got: number, exactly: number) =>
            Math.abs(got - exactly) / (4e-6 * sizes[column]! + 2.02 * rounding[result] * Math.abs(exactly) + 1e-6)
          worst = Math.max(worst, error(gotAdded[at]!, wanted + before[at]!), error(gotAlone[at]!, wanted))
        }
      }
      expect(worst, `${dtype}, ${result}`).toBeLessThan(1)
      for (const tensor of [dY, added, alone]) tensor.dispose()
    }
    for (const tensor of [storage, weight, exact]) tensor.dispose()
  })
})

test('activations that are not finite give results that are not finite', async () => {
  const blocks = new Uint8Array(2 * 34).fill(1)
  const weight = native.fromArray(device, 'q8_0', [1, 64], blocks)
  for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const a = native.fromArray(
      device,
      'float32',
      [2, 64],
      Float32Array.from({ length: 128 }, (_, i) => (i === 40 ? odd : 1)),
    )
    const c = native.empty(device, 'float32', [2, 1])
    native.matmul({ a, b: weight, transposeB: true, c })
    const [first, second] = (await c.read()) as Float32Array
    expect(Number.isFinite(first), `with ${odd}`).toBe(false)
    expect(Number.isFinite(second)).toBe(true)
    for (const tensor of [a, c]) tensor.dispose()
  }
  weight.dispose()
})

test('blocks are weights only: they are refused as other operands, and beside a transpose', () => {
  const weight = native.empty(device, 'q8_0', [3, 32])
  const a = native.empty(device, 'float32', [2, 32])
  const c = native.empty(device, 'float32', [2, 3])
  const back = native.empty(device, 'float32', [2, 32])
  expect(() => native.matmul({ a: weight, b: a, transposeB: true, c })).toThrow(
    'expected float32, bfloat16 or float16 for a',
  )
  const turned = native.empty(device, 'float32', [3, 2])
  expect(() => native.matmul({ a: turned, transposeA: true, b: weight, c: back })).toThrow(
    'float32, or blocks of a matrix',
  )
  for (const tensor of [weight, a, c, back, turned]) tensor.dispose()
})
