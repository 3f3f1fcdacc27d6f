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

/** The settings of a row, in the order of the operation's. */
interface Sampling {
  temperature: number
  minP?: number
  topK?: number
  topP?: number
  typicalP?: number
}

/** A row of the operation's settings. */
export const settingsOf = ({ temperature, minP = 0, topK = 0, topP = 1, typicalP = 1 }: Sampling): number[] => [
  temperature,
  minP,
  topK,
  topP,
  typicalP,
]

/**
 * Tokens in order, cut, then drawn: Holtzman et al. 2020, section 3.1 (topP), after Fan et al. 2018 (topK), and arXiv 2407.01082
 * (minP), before Meister et al. 2023, section 3.3 (typicalP).
 */
export function drawn(logits: readonly number[], uniform: number, settings: readonly number[]): number {
  const [temperature, minP, topK, topP, typicalP] = settings as [number, number, number, number, number]
  const most = Math.max(...logits)
  if (temperature < 1e-5) return logits.indexOf(most)
  const weightOf = (id: number) => Math.exp((logits[id]! - most) / temperature)
  const total = (ids: readonly number[]) => sum(ids.length, (i) => weightOf(ids[i]!))
  let ids = [...logits.keys()].filter((id) => weightOf(id) >= Math.min(1, minP))
  const cut = topK > 0 && topK < logits.length
  if (cut || topP < 1) ids.sort((a, b) => logits[b]! - logits[a]! || a - b)
  if (cut) ids = ids.slice(0, topK)
  if (topP < 1) ids = ids.slice(0, reaching(ids.map(weightOf), topP))
  if (typicalP < 1) {
    ids = ids.filter((id) => weightOf(id) > 0)
    const all = total(ids)
    const surprise = (id: number) => -Math.log(weightOf(id) / all)
    const entropy = sum(ids.length, (i) => (weightOf(ids[i]!) / all) * surprise(ids[i]!))
    const distance = (id: number) => Math.abs(surprise(id) - entropy)
    const nearest = [...ids].sort((a, b) => distance(a) - distance(b))
    const last = nearest[reaching(nearest.map(weightOf), typicalP) - 1]!
    ids = ids.filter((id) => distance(id) <= distance(last) + 1e-12)
  }
  let left = uniform * total(ids)
  for (const id of ids) {
    left -= weightOf(id)
    if (left < 0) return id
  }
  throw new RangeError(`${uniform} is not below 1.`)
}

/** Returns how many of the first weights, at least one, sum to a share of all. */
function reaching(weights: readonly number[], share: number): number {
  const wanted = share * sum(weights.length, (i) => weights[i]!)
  let [kept, together] = [0, 0]
  while (kept < weights.length && together < wanted) together += weights[kept++]!
  return Math.max(1, kept)
}

const samplings: Sampling[] = [
  { temperature: 1 },
  { temperature: 0.3, topP: 0.9 },
  { temperature: 1.7, topK: 40 },
  { temperature: 2.5, topP: 0.97 },
  { temperature: 1, topK: 33, topP: 0.8 },
  { temperature: 100, topP: 0.5 },
  { temperature: 1e-3, topK: 2, topP: 1e-9 },
  { temperature: 0 },
  { temperature: 9e-6, topK: 3 },
  { temperature: 1e30 },
  { temperature: 1, minP: 0.1 },
  { temperature: 2, minP: 0.02, topK: 50 },
  { temperature: 1.5, minP: 0.04, topP: 0.9 },
  { temperature: 1, minP: 2 },
  { temperature: 1, typicalP: 0.5 },
  { temperature: 0.8, topK: 21, typicalP: 0.9 },
  { temperature: 1.2, topP: 0.9, typicalP: 0.6 },
  { temperature: 1.4, minP: 0.01, topK: 90, topP: 0.95, typicalP: 0.8 },
]

/** @param of the sampling of a row */
const sampleCase = (name: string, [rows, vocabulary]: readonly [number, number], of: (row: number) => Sampling) =>
  operationCase({
    name: `sample [${rows}, ${vocabulary}] ${name}`,
    operands: {
      logits: { shape: [rows, vocabulary], dtype: 'activation', values: logitsWithTies },
      draws: {
        shape: [rows],
        dtype: 'int64',
        values: (random, row) => ([2 ** -12, 1 - 2 ** -12][row] ?? random.uniform()) * 2 ** 53,
      },
      settings: {
        shape: [rows, 5],
        dtype: 'float32',
        layouts: 'dense',
        values: Array.from({ length: rows }, (_, row) => settingsOf(of(row))).flat(),
      },
      ids: { shape: [rows], dtype: 'int32', role: 'out' },
    },
    call: ({ logits, draws, settings, ids }) => native.sample(logits, draws, settings, ids),
    reference: ({ logits, draws, settings }) => ({
      ids: Host.of([rows], (row) => drawn(rowOf(logits, row), draws.at(row) / 2 ** 53, rowOf(settings, row))),
    }),
  })

const sample = [
  ...sizes.flatMap((size) => samplings.map((sampling) => sampleCase(JSON.stringify(sampling), size, () => sampling))),
  sampleCase('with settings of its own for each row', [samplings.length, 515], (row) => samplings[row]!),
  ...[{ temperature: 1 }, { temperature: 1, topK: 2, topP: 0.9 }, { temperature: 0 }, { temperature: 1e12 }].map(
    (sampling) =>
      operationCase({
        name: `sample of rows that have no largest logit ${JSON.stringify(sampling)}`,
        operands: {
          logits: { shape: [5, 5], dtype: 'activation', values: damaged.values.flat() },
          draws: { shape: [5], dtype: 'int64', values: () => 2 ** 52 - 1 },
          settings: {
            shape: [5, 5],
            dtype: 'float32',
            layouts: 'dense',
            values: damaged.ids.flatMap(() => settingsOf(sampling)),
          },
          ids: { shape: [5], dtype: 'int32', role: 'out' },
        },
        call: ({ logits, draws, settings, ids }) => native.sample(logits, draws, settings, ids),
        reference: () => ({ ids: new Host([5], damaged.ids) }),
      }),
  ),
]

const editLogits = [
  { starts: [0, 0], columns: 4 },
  { starts: [0, 3], columns: 7 },
  { starts: [0, 2, 2, 9, 12], columns: 64 },
  { starts: [0, 700, 1400], columns: 1031 },
].map(({ starts, columns }) => {
  const [rows, count] = [starts.length - 1, starts.at(-1)!]
  return operationCase({
    name: `editLogits [${rows}, ${columns}] at ${count}`,
    dtypes: ['float32'],
    operands: {
      offsets: { shape: [rows + 1], dtype: 'int32', values: starts },
      // Distinct in each row, since 3 divides no number of columns.
      ids: { shape: [count], dtype: 'int32', values: (_, i) => (3 * i + 1) % columns },
      changes: {
        shape: [count, 3],
        dtype: 'float32',
        layouts: 'dense',
        values: (random, i) => {
          if (i % 3 === 1) return 0.5 + random.uniform()
          return i % 15 === 0 ? Number.NEGATIVE_INFINITY : random.normal()
        },
      },
      logits: { shape: [rows, columns], dtype: 'float32', role: 'inout', values: logitsWithTies },
    },
    call: ({ offsets, ids, changes, logits }) => native.editLogits(offsets, ids, changes, logits),
    reference: ({ ids, changes, logits }) => {
      const edited = logits.map((value) => value)
      for (let row = 0; row < rows; row++) {
        for (let i = starts[row]!; i < starts[row + 1]!; i++) {
          const [bias, factor, shift] = rowOf(changes, i) as [number, number, number]
          const value = logits.at(row, ids.at(i)) + bias
          edited.set((value < 0 ? value * factor : value / factor) + shift, row, ids.at(i))
        }
      }
      return { logits: edited }
    },
  })
})

const maskLogits = [
  { rows: [0], all: 1, columns: 1 },
  { rows: [2, 0], all: 3, columns: 31 },
  { rows: [1], all: 2, columns: 32 },
  { rows: [], all: 2, columns: 33 },
  { rows: [4, 1, 7], all: 8, columns: 1031 },
].map(({ rows, all, columns }) =>
  operationCase({
    name: `maskLogits of ${rows.length} rows of [${all}, ${columns}]`,
    dtypes: ['float32'],
    operands: {
      mask: {
        shape: [rows.length, Math.ceil(columns / 32)],
        dtype: 'int32',
        values: (random) => random.uint32() | 0,
      },
      rows: { shape: [rows.length], dtype: 'int32', values: rows },
      logits: { shape: [all, columns], dtype: 'float32', role: 'inout', values: logitsWithTies },
    },
    call: ({ mask, rows, logits }) => native.maskLogits(mask, rows, logits),
    reference: ({ mask, logits }) => {
      const masked = logits.map((value) => value)
      for (const [i, row] of rows.entries()) {
        for (let column = 0; column < columns; column++) {
          const allowed = (mask.at(i, Math.floor(column / 32)) >> (column % 32)) & 1
          if (allowed === 0) masked.set(Number.NEGATIVE_INFINITY, row, column)
        }
      }
      return { logits: masked }
    },
  }),
)

const logProbabilities = [...sizes, [4, 4099] as const].flatMap(([rows, vocabulary]) =>
  [0, 1, 5, 20]
    .filter((most) => most <= vocabulary)
    .map((most) =>
      operationCase({
        name: `logProbabilities [${rows}, ${vocabulary}] with ${most}`,
        dtypes: ['float32'],
        operands: {
          logits: { shape: [rows, vocabulary], dtype: 'float32', values: logitsWithTies },
          ids: { shape: [rows], dtype: 'int32', values: (random) => random.integer(vocabulary) },
          ranks: { shape: [rows], dtype: 'int32', role: 'out' },
          top: { shape: [rows, most], dtype: 'int32', role: 'out' },
          logprobs: { shape: [rows, 1 + most], dtype: 'float32', role: 'out' },
        },
        call: ({ logits, ids, ranks, top, logprobs }) => native.logProbabilities(logits, ids, ranks, top, logprobs),
        reference: ({ logits, ids }) => {
          const ranked = Array.from({ length: rows }, (_, row) => {
            const values = rowOf(logits, row)
            const order = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b)
            const largest = values[order[0]!]!
            const logSum = largest + Math.log(sum(vocabulary, (i) => Math.exp(values[i]! - largest)))
            return { values, order, logSum }
          })
          return {
            ranks: Host.of([rows], (row) => {
              const { values } = ranked[row]!
              return 1 + values.filter((value) => value > values[ids.at(row)]!).length
            }),
            top: Host.of([rows, most], (row, i) => ranked[row]!.order[i]!),
            logprobs: Host.of([rows, 1 + most], (row, i) => {
              const { values, order, logSum } = ranked[row]!
              return values[i === 0 ? ids.at(row) : order[i - 1]!]! - logSum
            }),
          }
        },
      }),
    ),
)

export const samplingOperations: Record<
  'argmax' | 'sample' | 'editLogits' | 'maskLogits' | 'logProbabilities',
  OperationCase[]
> = { argmax, sample, editLogits, maskLogits, logProbabilities }
