import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host } from '../host.js'

const shapes = [[1], [7], [3, 5], [1, 33], [2, 3, 17], [2, 3, 5, 7], [0, 4], [129, 260]]

const fill = shapes.map((shape) =>
  operationCase({
    name: `fill [${shape}]`,
    operands: { target: { shape, dtype: 'activation', role: 'out', layouts: 'any' } },
    call: ({ target }) => native.fill(target, -1.5),
    reference: () => ({ target: new Host(shape).map(() => -1.5) }),
  }),
)

const fillOfIntegers = (['int32', 'int64', 'uint8'] as const).map((dtype) =>
  operationCase({
    name: `fill of ${dtype}`,
    dtypes: ['float32'],
    operands: { target: { shape: [3, 11], dtype, role: 'out', layouts: 'any' } },
    call: ({ target }) => native.fill(target, 7),
    reference: () => ({ target: new Host([3, 11]).map(() => 7) }),
  }),
)

const floats = ['float32', 'bfloat16', 'float16'] as const
const conversions = floats.flatMap((from) => floats.map((to) => ({ from, to })))

const copy = [
  ...shapes.map((shape) =>
    operationCase({
      name: `copy of a half [${shape}]`,
      operands: {
        source: { shape, dtype: 'activation', layouts: 'any' },
        target: { shape, dtype: 'activation', role: 'out', layouts: 'any' },
      },
      call: ({ source, target }) => native.copy(source, target, 0.5),
      reference: ({ source }) => ({ target: source.map((value) => 0.5 * value) }),
    }),
  ),
  ...conversions.map(({ from, to }) =>
    operationCase({
      name: `copy from ${from} to ${to}, with values that are not finite`,
      dtypes: ['float32'],
      operands: {
        source: {
          shape: [5, 37],
          dtype: from,
          layouts: 'any',
          values: (random, i) =>
            [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 2 ** -20][i] ?? random.normal(),
        },
        target: { shape: [5, 37], dtype: to, role: 'out', layouts: 'any' },
      },
      slack: { float32: 2 ** -25 },
      call: ({ source, target }) => native.copy(source, target, 1),
      reference: ({ source }) => ({ target: source }),
    }),
  ),
  ...(['int32', 'int64', 'uint8'] as const).map((dtype) =>
    operationCase({
      name: `copy of ${dtype}`,
      dtypes: ['float32'],
      operands: {
        source: { shape: [4, 9], dtype, values: (_, i) => i * 3, layouts: 'any' },
        target: { shape: [4, 9], dtype, role: 'out', layouts: 'any' },
      },
      call: ({ source, target }) => native.copy(source, target, 1),
      reference: ({ source }) => ({ target: source }),
    }),
  ),
]

const add = [
  ...shapes.map((shape) =>
    operationCase({
      name: `add twice [${shape}]`,
      operands: {
        source: { shape, dtype: 'activation', layouts: 'any' },
        target: { shape, dtype: 'activation', role: 'inout', layouts: 'any' },
      },
      call: ({ source, target }) => native.add(source, target, -2),
      reference: ({ source, target }) => ({
        target: new Host(
          shape,
          target.values.map((value, i) => value - 2 * source.values[i]!),
        ),
      }),
    }),
  ),
  ...conversions.map(({ from, to }) =>
    operationCase({
      name: `add ${from} to ${to}`,
      dtypes: ['float32'],
      operands: {
        source: { shape: [3, 19], dtype: from, layouts: 'any' },
        target: { shape: [3, 19], dtype: to, role: 'inout', layouts: 'any' },
      },
      call: ({ source, target }) => native.add(source, target, 1),
      reference: ({ source, target }) => ({
        target: new Host(
          [3, 19],
          target.values.map((value, i) => value + source.values[i]!),
        ),
      }),
    }),
  ),
]

const multiply = floats.flatMap((from) =>
  [
    [1, 1],
    [3, 7],
    [9, 40],
    [2, 2100],
    [0, 4],
  ].flatMap(([rows, columns]) =>
    [false, true].map((accumulate) =>
      operationCase({
        name: `multiply ${from} [${rows}, ${columns}]${accumulate ? ', adding' : ''}`,
        dtypes: ['float32'],
        operands: {
          a: { shape: [rows!, columns!], dtype: from },
          b: { shape: [rows!, columns!], dtype: 'float32' },
          target: { shape: [rows!, columns!], dtype: 'float32', role: accumulate ? 'inout' : 'out' },
        },
        call: ({ a, b, target }) => native.multiply(a, b, target, -1.5, accumulate),
        reference: ({ a, b, target }) => ({
          target: new Host(
            [rows!, columns!],
            a.values.map((value, i) => -1.5 * value * b.values[i]! + (accumulate ? target.values[i]! : 0)),
          ),
        }),
      }),
    ),
  ),
)

// Block formats are compared bit for bit with reference values in test/golden/gguf-blocks.test.ts.
const dequantise = floats.map((from) =>
  operationCase({
    name: `dequantise of plain ${from}`,
    operands: {
      source: { shape: [3, 64], dtype: from, layouts: 'dense' },
      target: { shape: [3, 64], dtype: 'activation', role: 'out' },
    },
    call: ({ source, target }) => native.dequantise(source, target),
    reference: ({ source }) => ({ target: source }),
  }),
)

export const copies: Record<'fill' | 'copy' | 'add' | 'multiply' | 'dequantise', OperationCase[]> = {
  fill: [...fill, ...fillOfIntegers],
  copy,
  add,
  multiply,
  dequantise,
}
