import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

// Rows, columns and inner length: vectors, primes, one past a vector, more than a block of the library.
const sizes = [
  [1, 1, 1],
  [1, 17, 5],
  [7, 1, 13],
  [5, 3, 1],
  [6, 1, 1],
  [1, 9, 1],
  [31, 33, 65],
  [0, 4, 3],
  [4, 3, 0],
  [40, 66, 130],
] as const

const transposes = [false, true].flatMap((a) => [false, true].map((b) => ({ a, b })))

function product(
  [m, n, k]: readonly [number, number, number],
  transpose: { a: boolean; b: boolean },
  { batch = 0, accumulate = false, alpha = 1, float32Result = false, float32Right = false } = {},
): OperationCase {
  const shape = (rows: number, columns: number, swap: boolean) => [
    ...(batch ? [batch] : []),
    ...(swap ? [columns, rows] : [rows, columns]),
  ]
  // Millions of elements are read: strides are faster than `at`.
  const [aRow, aColumn] = transpose.a ? [1, m] : [k, 1]
  const [bRow, bColumn] = transpose.b ? [1, k] : [n, 1]
  const resultShape = shape(m, n, false)
  const how = `${transpose.a ? 'aᵀ' : 'a'} ${transpose.b ? 'bᵀ' : 'b'}`
  return operationCase({
    name: `matmul ${how} [${m} x ${k} x ${n}] batch ${batch}, alpha ${alpha}${accumulate ? ', added' : ''}${float32Result ? ', float32 result' : ''}${float32Right ? ', float32 b' : ''}`,
    operands: {
      a: { shape: shape(m, k, transpose.a), dtype: 'activation', layouts: 'any' },
      b: { shape: shape(k, n, transpose.b), dtype: float32Right ? 'float32' : 'activation', layouts: 'any' },
      c: {
        shape: resultShape,
        dtype: float32Result ? 'float32' : 'activation',
        role: accumulate ? 'inout' : 'out',
        layouts: 'rows',
      },
    },
    call: ({ a, b, c }) =>
      native.matmul({ a, transposeA: transpose.a, b, transposeB: transpose.b, c, alpha, accumulate }),
    reference: ({ a, b, c }) => {
      const result = new Host(resultShape)
      for (let q = 0; q < Math.max(1, batch); q++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            const [aStart, bStart, at] = [q * m * k + i * aRow, q * k * n + j * bColumn, (q * m + i) * n + j]
            let dot = 0
            for (let l = 0; l < k; l++) dot += a.values[aStart + l * aColumn]! * b.values[bStart + l * bRow]!
            result.values[at] = alpha * dot + (accumulate ? c.values[at]! : 0)
          }
        }
      }
      return { c: result }
    },
  })
}

const matmul = [
  ...sizes.flatMap((size) => transposes.map((transpose) => product(size, transpose))),
  ...transposes.map((transpose) => product([13, 21, 34], transpose, { accumulate: true, alpha: 0.25 })),
  ...transposes.map((transpose) => product([9, 14, 23], transpose, { batch: 3 })),
  product([6, 5, 7], { a: true, b: false }, { batch: 2, accumulate: true, alpha: -1.5, float32Result: true }),
  product([19, 37, 41], { a: true, b: false }, { accumulate: true, float32Result: true }),
  product([4, 3, 0], { a: false, b: true }, { accumulate: true }),
  ...transposes.map((transpose) => product([13, 21, 34], transpose, { float32Right: true })),
  product([519, 33, 40], { a: false, b: true }, { float32Right: true, accumulate: true }),
  // Many rows by one matrix, which the CPU packs first.
  ...transposes.map((transpose) => product([1027, 61, 71], transpose, { accumulate: transpose.b })),
  product([1031, 53, 67], { a: false, b: true }, { batch: 2, accumulate: true, alpha: 0.5 }),
  // Products that the CPU splits among its threads: into columns and rows of a packed matrix, columns, rows, and batches.
  ...transposes.map((transpose) => product([1100, 203, 67], transpose, { accumulate: transpose.a })),
  ...transposes.map((transpose) => product([150, 290, 67], transpose, { accumulate: transpose.b, alpha: -2 })),
  ...transposes.map((transpose) => product([700, 20, 97], transpose)),
  ...transposes.map((transpose) => product([40, 66, 130], transpose, { batch: 7, accumulate: transpose.a })),
  product([150, 90, 67], { a: true, b: true }, { batch: 3 }),
  // Tokens in parts, of which the last is padded: as rows of packed and of narrow matrices, and as the summed dimension.
  ...transposes.map((transpose) => product([530, 83, 70], transpose, { accumulate: transpose.b, alpha: 0.5 })),
  ...[false, true].map((accumulate) => product([577, 50, 49], { a: false, b: true }, { batch: 3, accumulate })),
  // A depth of whole cache lines, and other numbers of rows with the same matrix.
  ...[64, 150, 211, 530].flatMap((rows) =>
    [false, true].map((b) => product([rows, 70, 128], { a: false, b }, { accumulate: b, alpha: b ? 1 : 0.5 })),
  ),
  // Short sums, over which the CPU goes once.
  ...[false, true].flatMap((b) => [
    product([70, 100, 8], { a: false, b }, { accumulate: true, alpha: 2 }),
    product([131, 65, 5], { a: false, b }),
    product([65, 130, 16], { a: false, b }, { accumulate: true, float32Result: true }),
    product([264, 576, 1], { a: false, b }, { alpha: -0.5 }),
  ]),
  // Up to tens of rows, whose activations the CPU reorders; an odd depth, a whole one, many outputs.
  ...[2, 9, 17, 48, 64].map((rows) => product([rows, 53, 96], { a: false, b: true }, { accumulate: rows === 17 })),
  product([20, 1030, 544], { a: false, b: true }, { alpha: 0.5, accumulate: true }),
  ...[25, 32, 41, 64].map((rows) => product([rows, 53, 98], { a: false, b: true }, { accumulate: rows % 2 === 1 })),
  product([33, 40, 64], { a: false, b: true }, { alpha: -1.5, float32Result: true }),
  product([30, 21, 35], { a: false, b: true }),
  product([130, 90, 192], { a: false, b: true }, { batch: 3, accumulate: true }),
  product([577, 50, 64], { a: false, b: false }, { batch: 2, float32Result: true }),
  product([130, 9, 70], { a: false, b: true }, { accumulate: true }),
  product([197, 70, 9], { a: false, b: false }, { batch: 2, float32Result: true }),
  product([37, 29, 333], { a: true, b: false }, { accumulate: true, alpha: 0.5, float32Result: true }),
  ...[false, true].map((accumulate) =>
    product([21, 19, 583], { a: true, b: false }, { batch: 3, accumulate, float32Result: true }),
  ),
  operationCase({
    name: 'matmul of one matrix for a whole batch, and of interleaved batches',
    operands: {
      a: { shape: [5, 12], dtype: 'activation' },
      b: { shape: [4, 6], dtype: 'activation' },
      c: { shape: [5, 12], dtype: 'activation', role: 'out' },
    },
    // Columns of a and c are three blocks of four side by side; b [4, 4] is the same for all of them.
    call: ({ a, b, c }) => {
      const blocks = (tensor: typeof a) => tensor.view([3, 5, 4], [4, tensor.strides[0]!, 1], 0)
      native.matmul({ a: blocks(a), b: b.view([3, 4, 4], [0, b.strides[0]!, 1], 1), transposeB: true, c: blocks(c) })
    },
    reference: ({ a, b }) => ({
      c: Host.of([5, 12], (t, j) => sum(4, (l) => a.at(t, j - (j % 4) + l) * b.at(j % 4, l + 1))),
    }),
  }),
]

/** A row times 4 H: sums and differences of 16 values that lie apart. */
function spread(row: readonly number[]): number[] {
  const values = [...row]
  for (let run = row.length / 16; run < row.length; run *= 2) {
    for (let i = 0; i < row.length; i++) {
      if (Math.floor(i / run) % 2 === 1) continue
      const [low, high] = [values[i]!, values[i + run]!]
      values[i] = Math.fround(low + high)
      values[i + run] = Math.fround(low - high)
    }
  }
  return values
}

/** A row as 8-bit integers times a scale, step by step as float32 computes it. */
function roundedRow(row: readonly number[], spreads: boolean): { codes: number[]; scale: number } {
  const isSpread = spreads && row.length % 16 === 0
  const values = isSpread ? spread(row) : row
  const largest = Math.max(...values.map(Math.abs))
  const steps = largest > 2 ** -100 && largest < Number.POSITIVE_INFINITY ? Math.fround(127 / largest) : 0
  const codes = values.map((value) => toNearestEven(Math.fround(value * steps)))
  return { codes, scale: Math.fround(largest / 127) / (isSpread ? 4 : 1) }
}

function toNearestEven(value: number): number {
  const floor = Math.floor(value)
  const up = value - floor > 0.5 || (value - floor === 0.5 && floor % 2 !== 0)
  return up ? floor + 1 : floor
}

const int8Sizes = [
  [1, 1, 1],
  [3, 5, 7],
  [31, 33, 65],
  [2, 100, 17],
  [9, 20, 64],
  [5, 12, 96],
  [70, 130, 66],
  [0, 4, 3],
  [1027, 61, 71],
  // Cut into columns, and into columns and rows.
  [70, 330, 66],
  [300, 203, 67],
] as const

const matmulInt8 = int8Sizes.flatMap(([m, n, k]) =>
  [false, true].flatMap((transposeB) =>
    [false, true].map((accumulate) =>
      operationCase({
        name: `matmulInt8 [${m} x ${k} x ${n}] b${transposeB ? 'ᵀ' : ''}${accumulate ? ', added' : ''}`,
        dtypes: ['float32', 'bfloat16'],
        needs: ({ int8Products }) => int8Products,
        operands: {
          a: { shape: [m, k], dtype: 'activation', values: (random, i) => (i % 29 === 0 ? 8 : 1) * random.normal() },
          b: { shape: transposeB ? [n, k] : [k, n], dtype: 'activation' },
          c: { shape: [m, n], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
        },
        call: ({ a, b, c }) => native.matmulInt8({ a, b, transposeB, c, accumulate }),
        reference: ({ a, b, c }) => {
          const [bRows, bColumns] = b.shape as [number, number]
          const weight = Array.from({ length: bRows }, (_, i) =>
            roundedRow(
              Array.from({ length: bColumns }, (_, j) => b.at(i, j)),
              transposeB,
            ),
          )
          const rows = Array.from({ length: m }, (_, i) =>
            roundedRow(
              Array.from({ length: k }, (_, l) =>
                transposeB ? a.at(i, l) : Math.fround(a.at(i, l) * weight[l]!.scale),
              ),
              transposeB,
            ),
          )
          const code = (l: number, j: number) => (transposeB ? weight[j]!.codes[l]! : weight[l]!.codes[j]!)
          return {
            c: Host.of([m, n], (i, j) => {
              const { codes, scale } = rows[i]!
              const product = scale * sum(k, (l) => codes[l]! * code(l, j)) * (transposeB ? weight[j]!.scale : 1)
              return product + (accumulate ? c.at(i, j) : 0)
            }),
          }
        },
      }),
    ),
  ),
)

const int8NonFinite = [false, true].map((transposeB) =>
  operationCase({
    name: `matmulInt8 b${transposeB ? 'ᵀ' : ''} of rows that are not finite, of zeros and of hardly more`,
    dtypes: ['float32', 'bfloat16'],
    needs: ({ int8Products }) => int8Products,
    operands: {
      a: {
        shape: [5, 3],
        dtype: 'activation',
        values: [1, Number.NaN, 0, 2, 0, Number.NEGATIVE_INFINITY, 0, 0, 0, 2 ** -110, 0, 0, 127, 1, 0],
      },
      b: { shape: [3, 3], dtype: 'activation', values: [127, 0, 0, 0, 127, 0, 0, 0, 127] },
      c: { shape: [5, 3], dtype: 'activation', role: 'out' },
    },
    call: ({ a, b, c }) => native.matmulInt8({ a, b, transposeB, c }),
    reference: ({ a }) => ({
      c: Host.of([5, 3], (i, j) => [Number.NaN, Number.NaN, 0, 0, 127 * a.at(i, j)][i]!),
    }),
  }),
)

const rows = [
  [1, 1],
  [1, 19],
  [5, 8],
  [13, 33],
  [0, 6],
  [517, 131],
] as const

const addBias = rows.flatMap(([tokens, width]) =>
  (['activation', 'float32'] as const).map((biasDType) =>
    operationCase({
      name: `addBias [${tokens}, ${width}], bias ${biasDType}`,
      operands: {
        bias: { shape: [width], dtype: biasDType },
        y: { shape: [tokens, width], dtype: 'activation', role: 'inout' },
      },
      call: ({ bias, y }) => native.addBias(bias, y),
      reference: ({ bias, y }) => ({ y: Host.of([tokens, width], (t, j) => y.at(t, j) + bias.at(j)) }),
    }),
  ),
)

const columnSums = rows.flatMap(([tokens, width]) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `columnSums [${tokens}, ${width}]${accumulate ? ', added' : ''}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation' },
        sums: { shape: [width], dtype: 'float32', role: accumulate ? 'inout' : 'out' },
      },
      call: ({ x, sums }) => native.columnSums(x, sums, accumulate),
      reference: ({ x, sums }) => ({
        sums: Host.of([width], (j) => sum(tokens, (t) => x.at(t, j)) + (accumulate ? sums.at(j) : 0)),
      }),
    }),
  ),
)

export const products: Record<'matmul' | 'matmulInt8' | 'addBias' | 'columnSums', OperationCase[]> = {
  matmul,
  matmulInt8: [...matmulInt8, ...int8NonFinite],
  addBias,
  columnSums,
}
