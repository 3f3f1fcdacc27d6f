import { type CodedMatrix, type CodeLayout, type NativeTensor, native } from '../../../lib/native/addon.js'
import {
  activationDTypes,
  decode,
  encode,
  type Operand,
  type Operands,
  type OperationCase,
  operationCase,
  testDevice,
} from '../harness.js'
import { Host, sum } from '../host.js'

/** A matrix of small codes: its sizes, its layout, and which parts it has. */
interface Form {
  readonly rows: number
  readonly layout: Partial<CodeLayout> & { readonly columns: number; readonly bits: 4 | 8 }
  readonly table?: boolean
  readonly scales?: 'float32' | 'float16' | 'bfloat16' | 'uint8'
  readonly zeros?: boolean
  /** Groups of columns in random order. */
  readonly groups?: boolean
}

const forms: Record<string, Form> = {
  'codes of 4 bits in groups with zeros': {
    rows: 13,
    layout: { columns: 96, bits: 4, groupSize: 32 },
    zeros: true,
    scales: 'float16',
  },
  'a table of 16 over groups that run on from row to row': {
    rows: 7,
    layout: { columns: 96, bits: 4, groupSize: 64, runsOn: true, highFirst: true },
    table: true,
  },
  'scales that are codes': {
    rows: 9,
    layout: { columns: 64, bits: 4, groupSize: 16, scalesPerScale: 7, scaleOffset: 0.375 },
    table: true,
    scales: 'uint8',
  },
  'groups of columns in no order': {
    rows: 6,
    layout: { columns: 70, bits: 4, groupSize: 10 },
    zeros: true,
    groups: true,
    scales: 'bfloat16',
  },
  'groups of an odd size': { rows: 5, layout: { columns: 22, bits: 4, groupSize: 7, zero: 8 } },
  'a table of 256 in blocks of rows and columns': {
    rows: 17,
    layout: { columns: 43, bits: 8, groupSize: 16, rowsPerScale: 5 },
    table: true,
  },
  'codes of 8 bits in one group': { rows: 3, layout: { columns: 129, bits: 8, zero: 128 }, scales: 'float16' },
  'codes of 8 bits in unordered groups': {
    rows: 4,
    layout: { columns: 40, bits: 8, groupSize: 8 },
    zeros: true,
    groups: true,
    table: true,
  },
  'rows that begin within those with scales': {
    rows: 5,
    layout: { columns: 40, bits: 4, groupSize: 16, runsOn: true, firstRow: 3 },
    table: true,
  },
  'rows that begin within a block of rows': {
    rows: 5,
    layout: { columns: 24, bits: 8, groupSize: 8, rowsPerScale: 4, firstRow: 3 },
    zeros: true,
  },
  'no rows': { rows: 0, layout: { columns: 24, bits: 8, groupSize: 8 } },
  'many of them': { rows: 301, layout: { columns: 2304, bits: 4, groupSize: 128 }, zeros: true, scales: 'float16' },
  'many, in unordered groups': {
    rows: 301,
    layout: { columns: 2304, bits: 4, groupSize: 128 },
    zeros: true,
    groups: true,
  },
}

const layoutOf = ({ layout }: Form): CodeLayout => ({
  firstRow: 0,
  rowsPerScale: 1,
  groupSize: layout.columns,
  scalesPerScale: 1,
  scaleOffset: 0,
  zero: 0,
  highFirst: false,
  runsOn: false,
  ...layout,
})

const anyByte = (random: { integer(bound: number): number }) => random.integer(256)

/** Operands of a form, with more scales than needed. */
function operandsOf(form: Form): Operands {
  const { bits, columns, firstRow, rowsPerScale, groupSize, runsOn, scalesPerScale } = layoutOf(form)
  const groups = Math.ceil(columns / groupSize)
  const last = firstRow + form.rows
  const count = (runsOn ? Math.ceil((last * columns) / groupSize) : Math.ceil(last / rowsPerScale) * groups) + 1
  const dtype = form.scales ?? 'float32'
  const coded = dtype === 'uint8'
  const present: Record<string, Operand | false | undefined> = {
    codes: { shape: [form.rows, (columns * bits) / 8], dtype: 'uint8', values: anyByte },
    table: form.table && { shape: [2 ** bits], dtype: 'float32' },
    scales: { shape: [count], dtype, ...(coded ? { values: anyByte } : {}) },
    zeros: form.zeros && { shape: [count], dtype: 'uint8', values: (random) => random.integer(2 ** bits) },
    groups: form.groups && { shape: [columns], dtype: 'int32', values: (random) => random.integer(groups) },
    scaleTable: coded && { shape: [256], dtype: 'float32' },
    scaleScales: coded && { shape: [Math.ceil(count / scalesPerScale)], dtype: 'float32' },
  }
  return Object.fromEntries(Object.entries(present).filter((entry): entry is [string, Operand] => Boolean(entry[1])))
}

const matrixOf = (form: Form, tensors: Readonly<Record<string, NativeTensor>>): CodedMatrix => ({
  codes: tensors.codes!,
  scales: tensors.scales!,
  layout: layoutOf(form),
  table: tensors.table ?? null,
  zeros: tensors.zeros ?? null,
  groups: tensors.groups ?? null,
  scaleTable: tensors.scaleTable ?? null,
  scaleScales: tensors.scaleScales ?? null,
})

/** The matrix [rows, columns] of the parts, by definition. */
function valuesOf(form: Form, parts: Readonly<Record<string, Host>>): Host {
  const layout = layoutOf(form)
  const { bits, columns, groupSize, runsOn } = layout
  const { codes, table, scales, zeros, groups, scaleTable, scaleScales } = parts
  const groupsOfRow = Math.ceil(columns / groupSize)
  const scaleOf = (i: number) =>
    scaleTable
      ? scaleScales!.at(Math.floor(i / layout.scalesPerScale)) * scaleTable.at(scales!.at(i)) + layout.scaleOffset
      : scales!.at(i)
  const matrix = new Host([form.rows, columns])
  // Plain arrays: some matrices have hundreds of thousands of values.
  for (let row = 0; row < form.rows; row++) {
    const scaleRow = Math.floor((layout.firstRow + row) / layout.rowsPerScale)
    for (let column = 0; column < columns; column++) {
      const high = (column % 2 === 1) !== layout.highFirst
      const byte = codes!.values[Math.floor(((row * columns + column) * bits) / 8)]!
      const code = bits === 8 ? byte : high ? byte >> 4 : byte & 15
      const group = groups ? groups.values[column]! : Math.floor(column / groupSize)
      const i = runsOn
        ? Math.floor(((layout.firstRow + row) * columns + column) / groupSize)
        : scaleRow * groupsOfRow + group
      const value = table ? table.values[code]! : code
      matrix.values[row * columns + column] = scaleOf(i) * (value - (zeros ? zeros.values[i]! : layout.zero))
    }
  }
  return matrix
}

/** More values than a panel of a product has. */
const isLarge = ({ rows, layout }: Form) => rows * layout.columns > 2 ** 18

const unpackCodes = Object.entries(forms).flatMap(([name, form]): OperationCase[] => {
  if (isLarge(form)) return []
  const { rows, layout } = form
  const parts = operandsOf(form)
  const picked = Array.from({ length: rows > 0 ? rows + 2 : 0 }, (_, i) => (i * 5 + 1) % rows)
  return [
    operationCase({
      name: `unpackCodes of ${name}`,
      operands: { ...parts, target: { shape: [rows, layout.columns], dtype: 'activation', role: 'out' } },
      call: (tensors) => native.unpackCodes(matrixOf(form, tensors), null, tensors.target!),
      reference: (values) => ({ target: valuesOf(form, values) }),
    }),
    operationCase({
      name: `unpackCodes of ${name}, rows picked`,
      operands: {
        ...parts,
        rows: { shape: [picked.length], dtype: 'int32', values: picked },
        target: { shape: [picked.length, layout.columns], dtype: 'activation', role: 'out' },
      },
      call: (tensors) => native.unpackCodes(matrixOf(form, tensors), tensors.rows!, tensors.target!),
      reference: (values) => {
        const matrix = valuesOf(form, values)
        return { target: Host.of([picked.length, layout.columns], (i, column) => matrix.at(picked[i]!, column)) }
      },
    }),
  ]
})

const products = activationDTypes.flatMap((dtype) =>
  [true, false].flatMap((transpose) => [1, 7, 9].map((m) => ({ transpose, m, dtype }))),
)

/** Whether a product uses unrounded values: the CPU multiplies few rows in float32, all others round values to a's dtype. */
const isExact = (m: number, transpose: boolean) => transpose && m <= 8 && testDevice().kind === 'cpu'

const matmulCodes = Object.entries(forms).flatMap(([name, form]) =>
  products.flatMap(({ transpose, m, dtype }) => {
    if (isLarge(form) && (m > 1 || dtype === 'float16')) return []
    const [depth, width] = transpose ? [form.layout.columns, form.rows] : [form.rows, form.layout.columns]
    const accumulate = transpose === m > 1
    const alpha = m > 1 ? -0.5 : 1
    return operationCase({
      name: `matmulCodes [${m}] by ${name}${transpose ? ', transposed' : ''}${accumulate ? ', added' : ''}`,
      operands: {
        ...operandsOf(form),
        a: { shape: [m, depth], dtype: 'activation' },
        c: { shape: [m, width], dtype: m > 1 ? 'float32' : 'activation', role: accumulate ? 'inout' : 'out' },
      },
      dtypes: [dtype],
      call: (tensors) =>
        native.matmulCodes({
          a: tensors.a!,
          b: matrixOf(form, tensors),
          transposeB: transpose,
          c: tensors.c!,
          alpha,
          accumulate,
        }),
      reference: ({ a, c, ...parts }) => {
        const exact = valuesOf(form, parts as Record<string, Host>).values
        const values = isExact(m, transpose) ? exact : decode(encode(exact, dtype), dtype)
        const stride = form.layout.columns
        const read = (i: number, j: number) => values[transpose ? j * stride + i : i * stride + j]!
        const product = (i: number, j: number) => sum(depth, (l) => a!.at(i, l) * read(l, j))
        return { c: Host.of([m, width], (i, j) => alpha * product(i, j) + (accumulate ? c!.at(i, j) : 0)) }
      },
    })
  }),
)

export const codeOperations: Record<'unpackCodes' | 'matmulCodes', OperationCase[]> = { unpackCodes, matmulCodes }
