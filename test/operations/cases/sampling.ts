import type { RandomStream } from '../../../lib/common/random.js'
import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

/** Half of the logits are tenths, so that there are equal ones; every eleventh token is forbidden. */
const logitsWithTies = (random: RandomStream, i: number): number => {
  if (i % 11 === 4) return Number.NEGATIVE_INFINITY
  const value = 3 * random.normal()
  return i % 2 === 0 ? value : Math.round(value * 10) / 10
}

const rowOf = (logits: Host, row: number): number[] =>
  Array.from({ length: logits.shape[1]! }, (_, column) => logits.at(row, column))

const sizes = [
  [1, 1],
  [1, 3],
  [5, 64],
  [3, 257],
  [0, 9],
  [19, 1031],
] as const

/** The error of a row without a largest logit names the column. */
const damaged = {
  values: [
    [0, Number.NaN, 2, Number.NaN, Number.POSITIVE_INFINITY],
    [0, 1, 2, 3, Number.POSITIVE_INFINITY],
    [Number.POSITIVE_INFINITY, 1, Number.NEGATIVE_INFINITY, 3, 4],
    new Array<number>(5).fill(Number.NEGATIVE_INFINITY),
    [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, -3e38, -0, 0],
  ],
  ids: [-2, -5, -1, -1, 3],
}

const argmax = [
  ...sizes.map(([rows, vocabulary]) =>
    operationCase({
      name: `argmax [${rows}, ${vocabulary}]`,
      operands: {
        logits: { shape: [rows, vocabulary], dtype: 'activation', values: logitsWithTies },
        ids: { shape: [rows], dtype: 'int32', role: 'out' },
      },
      call: ({ logits, ids }) => native.argmax(logits, ids),
      reference: ({ logits }) => ({
        ids: Host.of([rows], (row) => {
          const values = rowOf(logits, row)
          return values.indexOf(Math.max(...values))
        }),
      }),
    }),
  ),
  operationCase({
    name: 'argmax of rows that have none',
    operands: {
      logits: { shape: [5, 5], dtype: 'activation', values: damaged.values.flat() },
      ids: { shape: [5], dtype: 'int32', role: 'out' },
    },
    call: ({ logits, ids }) => native.argmax(logits, ids),
    reference: () => ({ ids: new Host([5], damaged.ids) }),
  }),
]

interface Sampling {
  temperature: number
  topK: number
  topP: number
}

/** Holtzman et al. 2020, section 3.1 (topP), after Fan et al. 2018 (topK): tokens in order, cut, then drawn. */
export function drawn(logits: readonly number[], uniform: number, { temperature, topK, topP }: Sampling): number {
  const most = Math.max(...logits)
  const weightOf = (id: number) => Math.exp((logits[id]! - most) / temperature)
  const total = (ids: readonly number[]) => sum(ids.length, (i) => weightOf(ids[i]!))
  let ids = logits.map((_, id) => id)
  const cut = topK > 0 && topK < ids.length
  if (cut || topP < 1) ids.sort((a, b) => logits[b]! - logits[a]! || a - b)
  if (cut) ids = ids.slice(0, topK)
  if (topP < 1) {
    const wanted = topP * total(ids)
    let [kept, together] = [0, 0]
    while (kept < ids.length && together < wanted) together += weightOf(ids[kept++]!)
    ids = ids.slice(0, kept)
  }
  let left = uniform * total(ids)
  for (const id of ids) {
    left -= weightOf(id)
    if (left < 0) return id
  }
  throw new RangeError(`${uniform} is not below 1.`)
}

const samplings: Sampling[] = [
  { temperature: 1, topK: 0, topP: 1 },
  { temperature: 0.3, topK: 0, topP: 0.9 },
  { temperature: 1.7, topK: 40, topP: 1 },
  { temperature: 2.5, topK: 0, topP: 0.97 },
  { temperature: 1, topK: 33, topP: 0.8 },
  { temperature: 100, topK: 0, topP: 0.5 },
  { temperature: 1e-3, topK: 2, topP: 1e-9 },
  { temperature: 1e-300, topK: 0, topP: 1 },
  { temperature: 1e300, topK: 0, topP: 1 },
]

const sample = [
  ...sizes.flatMap(([rows, vocabulary]) =>
    samplings.map((sampling) =>
      operationCase({
        name: `sample [${rows}, ${vocabulary}] ${JSON.stringify(sampling)}`,
        operands: {
          logits: { shape: [rows, vocabulary], dtype: 'activation', values: logitsWithTies },
          draws: {
            shape: [rows],
            dtype: 'int64',
            values: (random, row) => ([2 ** -12, 1 - 2 ** -12][row] ?? random.uniform()) * 2 ** 53,
          },
          ids: { shape: [rows], dtype: 'int32', role: 'out' },
        },
        call: ({ logits, draws, ids }) => native.sample(logits, draws, sampling, ids),
        reference: ({ logits, draws }) => ({
          ids: Host.of([rows], (row) => drawn(rowOf(logits, row), draws.at(row) / 2 ** 53, sampling)),
        }),
      }),
    ),
  ),
  ...[
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 1, topK: 2, topP: 0.9 },
    { temperature: 1e-300, topK: 0, topP: 1 },
    { temperature: 1e12, topK: 0, topP: 1 },
  ].map((sampling) =>
    operationCase({
      name: `sample of rows that have no largest logit ${JSON.stringify(sampling)}`,
      operands: {
        logits: { shape: [5, 5], dtype: 'activation', values: damaged.values.flat() },
        draws: { shape: [5], dtype: 'int64', values: () => 2 ** 52 - 1 },
        ids: { shape: [5], dtype: 'int32', role: 'out' },
      },
      call: ({ logits, draws, ids }) => native.sample(logits, draws, sampling, ids),
      reference: () => ({ ids: new Host([5], damaged.ids) }),
    }),
  ),
]

export const samplingOperations: Record<'argmax' | 'sample', OperationCase[]> = { argmax, sample }
