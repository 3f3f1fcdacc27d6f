/** Values quantised to blocks of GGUF as llama.cpp's library does, and to NF4 as bitsandbytes does. */
import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { blockValues } from '../../lib/io/stored-dtype.js'
import { type DType, native, type WrittenBlocks } from '../../lib/native/addon.js'
import { goldenJson, goldenPath, lacksGolden, readTensors } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

// sha256 of the blocks that ggml_quantize_chunk, of the library that `npm run check llama-cpp` fetches, makes from
// `rowsToQuantise`, without and with `importanceOfColumns`.
const hashes = goldenJson<Record<WrittenBlocks, { plain: string; weighted: string }>>('ggml-quantised.json')
const formats = Object.keys(hashes) as WrittenBlocks[]
const COLUMNS = 512

/** Bell-shaped rows, and at the start of some what quantisers must not stumble over. */
function rowsToQuantise(): Float32Array {
  const random = randomStream(1, 'quantise')
  const bell = () => random.uniform() + random.uniform() + random.uniform() - 1.5
  const values = Float32Array.from({ length: 32 * COLUMNS }, () => bell() * 0.05)
  const row = (index: number) => values.subarray(index * COLUMNS, (index + 1) * COLUMNS)
  row(1).fill(0, 0, 256)
  row(2).fill(0.25, 0, 64)
  row(3).set(row(3).map(Math.abs))
  row(4).set(row(4).map((value) => -Math.abs(value)))
  row(5).set(row(5).map((value) => value * 1e-6))
  row(6).set(row(6).map((value) => value * 1e4))
  row(7).set(row(7).map((value, i) => (i % 3 === 0 ? value : 0)))
  row(8)[17] = 9
  return values
}

function importanceOfColumns(): Float32Array {
  const random = randomStream(2, 'quantise')
  return Float32Array.from({ length: COLUMNS }, (_, i) => (i % 50 === 0 ? 0 : random.uniform() ** 2 * 10))
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function valuesOf(format: DType, blocks: Uint8Array, columns: number): Promise<Float32Array> {
  const rows = (blocks.length / rowBytes(format, columns)) | 0
  const source = native.fromArray(device, format, [rows, columns], blocks)
  const target = native.empty(device, 'float32', [rows, columns])
  native.dequantise(source, target)
  const values = (await target.read()) as Float32Array
  source.dispose()
  target.dispose()
  return values
}

const rowBytes = (format: DType, columns: number) =>
  native.quantise(format as WrittenBlocks, new Float32Array(columns), columns, null, 1).length

const quantise = (format: WrittenBlocks, values: Float32Array, importance: Float32Array | null = null, threads = 1) =>
  native.quantise(format, values, COLUMNS, importance, threads)

function largestError(values: Float32Array, others: Float32Array): number {
  return values.reduce((most, value, i) => Math.max(most, Math.abs(value - others[i]!)), 0)
}

test('every format that is written has a hash', () => expect(formats.length).toBe(11))

describe.each(formats)('%s', (format) => {
  const values = rowsToQuantise()

  test("blocks are llama.cpp's, bit for bit, with and without importance, on any number of threads", () => {
    for (const [name, importance] of [
      ['plain', null],
      ['weighted', importanceOfColumns()],
    ] as const) {
      const blocks = quantise(format, values, importance)
      expect(hashOf(blocks), name).toBe(hashes[format][name])
      const many = Float32Array.from({ length: 20 * values.length }, (_, i) => values[i % values.length]!)
      const inParts = quantise(format, many, importance, 3)
      for (let part = 0; part < 20; part++)
        expect(hashOf(inParts.subarray(part * blocks.length, (part + 1) * blocks.length))).toBe(hashes[format][name])
    }
  })

  test('a value moves by a step of its block at most', async () => {
    const count = blockValues(format)
    // Relative to the largest value: half a step, or a whole one if levels are not symmetric around zero. Scales of
    // groups are rounded too.
    const share = {
      q8_0: 0.0045,
      q6_k: 0.04,
      q5_k: 0.09,
      q5_1: 0.04,
      q5_0: 0.07,
      mxfp4: 0.26,
      iq4_xs: 0.15,
      iq4_nl: 0.13,
    }
    const again = await valuesOf(format, quantise(format, values), COLUMNS)
    for (let from = 0; from < values.length; from += count) {
      const own = values.subarray(from, from + count)
      const most = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      const bound = most * (share[format as keyof typeof share] ?? 0.14) + 1e-6
      expect(largestError(own, again.subarray(from, from + count)), `block ${from / count}`).toBeLessThanOrEqual(bound)
    }
  })

  test('importance moves errors to columns that matter less', async () => {
    if (format === 'q8_0' || format === 'mxfp4') return
    const importance = importanceOfColumns()
    const errors: number[] = []
    for (const weights of [null, importance]) {
      const again = await valuesOf(format, quantise(format, values.subarray(16 * COLUMNS), weights), COLUMNS)
      const own = values.subarray(16 * COLUMNS)
      errors.push(own.reduce((sum, value, i) => sum + importance[i % COLUMNS]! * (value - again[i]!) ** 2, 0))
    }
    expect(errors[1]!).toBeLessThan(0.97 * errors[0]!)
  })
})

test.each(['q8_0', 'q4_0', 'q5_0', 'mxfp4'] as const)('%s of its own values has these values', async (format) => {
  const blocks = quantise(format, rowsToQuantise())
  const values = await valuesOf(format, blocks, COLUMNS)
  const again = await valuesOf(format, quantise(format, values), COLUMNS)
  expect(values.some((value) => value !== 0)).toBe(true)
  expect(largestError(again, values)).toBe(0)
})

test('Q8_0 of multiples of a power of two is exact, halves go away from zero, and zeros stay zero', async () => {
  const whole = Float32Array.from({ length: 32 }, (_, i) => (i - 15) / 16)
  whole[0] = 127 / 16
  expect(await valuesOf('q8_0', native.quantise('q8_0', whole, 32, null, 1), 32)).toEqual(whole)
  const halves = new Float32Array(32)
  halves.set([127, 2.5, -2.5, 0.5, -0.5, 0.49])
  const again = await valuesOf('q8_0', native.quantise('q8_0', halves, 32, null, 1), 32)
  expect([...again.subarray(0, 7)].map((value) => value + 0)).toEqual([127, 3, -3, 1, -1, 0, 0])
  expect(native.quantise('q8_0', new Float32Array(64), 32, null, 1)).toEqual(new Uint8Array(68))
})

describe('NF4', () => {
  const golden = 'bnb-4bit.safetensors'
  const shapes = ['128x192', '96x300']
  needing(lacksGolden(golden)).test.each(shapes)("codes and scales are bitsandbytes', bit for bit: %s", (shape) => {
    const tensors = readTensors(goldenPath(golden))
    const of = (part: string) => tensors.get(`nf4-${shape}.${part}`)!
    const { codes, scales, table } = native.quantiseNf4(of('weight').values, 2)
    expect(scales).toEqual(of('absmax').values)
    expect(codes).toEqual(of('packed').bytes)
    const values = of('weight').values.map((_, i) => {
      const code = codes[i >> 1]! >> (i % 2 === 0 ? 4 : 0)
      return Math.fround(table[code & 15]! * scales[Math.floor(i / 64)]!)
    })
    expect(values).toEqual(of('values').values)
  })

  test('values that it can hold stay what they are', () => {
    const { table } = native.quantiseNf4(new Float32Array(2), 1)
    const values = Float32Array.from({ length: 130 }, (_, i) => table[(i * 7) % 16]! * (i < 64 ? 0.5 : 2))
    const { codes, scales } = native.quantiseNf4(values, 1)
    expect([...codes].flatMap((pair) => [pair >> 4, pair & 15])).toEqual([...values.keys()].map((i) => (i * 7) % 16))
    expect(scales.length).toBe(3)
  })
})

describe('is refused by a sentence', () => {
  const refused = (code: string, text: string) =>
    expect.objectContaining({ code, message: expect.stringContaining(text) })
  const thrown = (body: () => unknown): unknown => {
    try {
      return body()
    } catch (error) {
      return error
    }
  }
  test.each([Number.NaN, Number.POSITIVE_INFINITY, 70000])('a value that a format cannot hold: %d', (value) => {
    const values = new Float32Array(64)
    values[40] = value
    expect(thrown(() => native.quantise('q4_0', values, 32, null, 1))).toEqual(
      refused('non-finite', 'q4_0 cannot hold'),
    )
    const found = thrown(() => native.quantiseNf4(values, 1))
    if (value < 1e9) expect(found).toMatchObject({ scales: Float32Array.of(value) })
    else expect(found).toEqual(refused('non-finite', 'nf4 cannot hold'))
  })

  test('what are no rows of blocks, no importance of each column, and formats that nothing is quantised to', () => {
    const values = new Float32Array(96)
    const wrong = (...args: unknown[]) => thrown(() => Reflect.apply(native.quantise, native, args))
    expect(wrong('q4_0', values, 48, null, 1)).toEqual(refused('invalid-argument', 'rows of whole blocks'))
    expect(wrong('q4_0', values, 64, null, 1)).toEqual(refused('invalid-argument', '96 values in rows of 64'))
    expect(wrong('q4_0', values, 0, null, 1)).toEqual(refused('invalid-argument', 'rows of 0'))
    expect(wrong('q4_0', values, 32, new Float32Array(31), 1)).toEqual(refused('invalid-argument', 'importance'))
    expect(wrong('q4_0', values, 32, new Float32Array(32).fill(-1), 1)).toEqual(
      refused('invalid-argument', 'importance'),
    )
    expect(wrong('q4_0', [1, 2], 32, null, 1)).toEqual(refused('invalid-argument', 'Float32Array for values'))
    expect(wrong('float16', values, 32, null, 1)).toEqual(refused('unsupported-dtype', 'to float16'))
    expect(wrong('q2_k', new Float32Array(256), 256, null, 1)).toEqual(refused('unsupported-dtype', 'to q2_k'))
    expect(thrown(() => native.quantiseNf4(new Float32Array(3), 1))).toEqual(refused('invalid-argument', 'even number'))
  })
})
