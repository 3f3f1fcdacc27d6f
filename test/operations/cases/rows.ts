import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, indices } from '../host.js'

const floats = ['float32', 'bfloat16', 'float16'] as const
// Tokens, table rows, width.
const sizes = [
  [1, 1, 1],
  [5, 3, 7],
  [9, 11, 33],
  [0, 4, 8],
  [211, 17, 190],
] as const

const anyRow = (count: number) => (random: { integer(bound: number): number }) => random.integer(count)

const embedding = sizes.flatMap(([tokens, vocabulary, width]) =>
  floats.map((dtype) =>
    operationCase({
      name: `embedding [${tokens}] of a ${dtype} table [${vocabulary}, ${width}]`,
      operands: {
        table: { shape: [vocabulary, width], dtype },
        ids: { shape: [tokens], dtype: 'int32', values: anyRow(vocabulary) },
        y: { shape: [tokens, width], dtype: 'activation', role: 'out' },
      },
      call: ({ table, ids, y }) => native.embedding(table, ids, y),
      reference: ({ table, ids }) => ({ y: Host.of([tokens, width], (t, j) => table.at(ids.at(t), j)) }),
    }),
  ),
)

const embeddingBackward = sizes.map(([tokens, vocabulary, width]) =>
  operationCase({
    name: `embeddingBackward [${tokens}] to [${vocabulary}, ${width}], ids repeated`,
    operands: {
      dY: { shape: [tokens, width], dtype: 'activation' },
      ids: { shape: [tokens], dtype: 'int32', values: anyRow(vocabulary) },
      dTable: { shape: [vocabulary, width], dtype: 'float32', role: 'inout' },
    },
    call: ({ dY, ids, dTable }) => native.embeddingBackward(dY, ids, dTable),
    reference: ({ dY, ids, dTable }) => {
      const result = new Host(dTable.shape, dTable.values)
      for (const [t, j] of indices([tokens, width])) result.add(dY.at(t!, j!), ids.at(t!), j!)
      return { dTable: result }
    },
  }),
)

// Distinct rows in no order: multiples of 5 modulo a count that 5 does not divide.
const distinct = (count: number) => (_: unknown, i: number) => (i * 5 + 1) % count

const picks = [
  [1, 1, 1],
  [4, 7, 3],
  [7, 7, 33],
  [0, 4, 8],
  [300, 403, 129],
] as const

const gatherRows = picks.map(([count, tokens, width]) =>
  operationCase({
    name: `gatherRows ${count} of [${tokens}, ${width}]`,
    operands: {
      x: { shape: [tokens, width], dtype: 'activation' },
      rows: { shape: [count], dtype: 'int32', values: distinct(tokens) },
      y: { shape: [count, width], dtype: 'activation', role: 'out' },
    },
    call: ({ x, rows, y }) => native.gatherRows(x, rows, y),
    reference: ({ x, rows }) => ({ y: Host.of([count, width], (i, j) => x.at(rows.at(i), j)) }),
  }),
)

const scatterRows = picks.map(([count, tokens, width]) =>
  operationCase({
    name: `scatterRows ${count} to [${tokens}, ${width}]`,
    operands: {
      x: { shape: [count, width], dtype: 'activation' },
      rows: { shape: [count], dtype: 'int32', values: distinct(tokens) },
      y: { shape: [tokens, width], dtype: 'activation', role: 'inout' },
    },
    call: ({ x, rows, y }) => native.scatterRows(x, rows, y),
    reference: ({ x, rows, y: before }) => {
      const y = new Host([tokens, width], before.values)
      for (const [i, j] of indices([count, width])) y.set(x.at(i!, j!), rows.at(i!), j!)
      return { y }
    },
  }),
)

const gatherColumns = picks.flatMap(([count, width, tokens]) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `gatherColumns ${count} of [${tokens}, ${width}]${accumulate ? ', added' : ''}`,
      operands: {
        x: { shape: [tokens, width], dtype: 'activation' },
        columns: { shape: [count], dtype: 'int32', values: distinct(width) },
        y: { shape: [tokens, count], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
      },
      call: ({ x, columns, y }) => native.gatherColumns(x, columns, y, accumulate),
      reference: ({ x, columns, y }) => ({
        y: Host.of([tokens, count], (t, c) => x.at(t, columns.at(c)) + (accumulate ? y.at(t, c) : 0)),
      }),
    }),
  ),
)

type RowOperation = 'embedding' | 'embeddingBackward' | 'gatherRows' | 'scatterRows' | 'gatherColumns'

export const rowOperations: Record<RowOperation, OperationCase[]> = {
  embedding,
  embeddingBackward,
  gatherRows,
  scatterRows,
  gatherColumns,
}
