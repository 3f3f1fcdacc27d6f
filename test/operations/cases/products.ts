import { native } from '../../../lib/native.js'
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
  const read = (host: Host, b: number, i: number, j: number, swap: boolean) => {
    const at = swap ? [j, i] : [i, j]
    return host.at(...(batch ? [b] : []), ...at)
  }
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
    call: ({ a, b, c }) => native.matmul(a, transpose.a, b, transpose.b, c, alpha, accumulate),
    reference: ({ a, b, c }) => {
      const result = new Host(resultShape)
      for (let q = 0; q < Math.max(1, batch); q++) {
        for (let i = 0; i < m; i++) {
          for (let j = 0; j < n; j++) {
            const dot = sum(k, (l) => read(a, q, i, l, transpose.a) * read(b, q, l, j, transpose.b))
            const at = [...(batch ? [q] : []), i, j]
            result.set(alpha * dot + (accumulate ? c.at(...at) : 0), ...at)
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
      native.matmul(blocks(a), false, b.view([3, 4, 4], [0, b.strides[0]!, 1], 1), true, blocks(c), 1, false)
    },
    reference: ({ a, b }) => ({
      c: Host.of([5, 12], (t, j) => sum(4, (l) => a.at(t, j - (j % 4) + l) * b.at(j % 4, l + 1))),
    }),
  }),
]

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

export const products: Record<'matmul' | 'addBias' | 'columnSums', OperationCase[]> = { matmul, addBias, columnSums }
