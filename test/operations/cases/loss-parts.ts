/** Losses of logits that come in parts of their columns. */
import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase, testDevice } from '../harness.js'
import { Host } from '../host.js'

const needs = () => native.supports(testDevice(), 'crossEntropyPart', ['float32'])
const width = 5
/** Rows, columns, the first column. */
const sizes = [
  [1, 1, 0],
  [5, 7, 0],
  [5, 7, 7],
  [41, 1031, 1031],
  [0, 9, 0],
] as const

/** Large logits too: their exponentials overflow without the largest. */
const spread = (random: { normal(): number }, i: number) => (i % 11 === 3 ? 300 : 0) + 4 * random.normal()
/** The largest logit so far, the sum of exponentials in two parts, and the target's logit. */
const soFar = (random: { normal(): number }, i: number) => [4 * random.normal(), 1.5, 1e-8, random.normal()][i % 4]!

/** The state of a row after the part, and its loss; nothing without a target. */
function rowAfter(logits: readonly number[], before: readonly number[], first: number, target: number) {
  const [largest, sum, rest, chosen] = first > 0 ? before : [-Infinity, 0, 0, Infinity]
  if (target < 0) return { running: [largest!, sum!, rest!, chosen!], shrunk: 1, exponentials: logits.map(() => 0) }
  const most = Math.max(largest!, ...logits)
  const shrunk = Math.exp(largest! - most)
  const exponentials = logits.map((value) => Math.exp(value - most))
  const total = (sum! + rest!) * shrunk + exponentials.reduce((a, b) => a + b, 0)
  const at = target - first
  const isHere = at >= 0 && at < logits.length
  const running = [most, total, 0, isHere ? logits[at]! : chosen!]
  return { running, shrunk, exponentials: exponentials.map((value, j) => (j === at ? 0 : value)) }
}

const parts = sizes.flatMap(([rows, columns, first]) =>
  [0, 30].flatMap((softcap) => {
    const cap = (value: number) => (softcap > 0 ? softcap * Math.tanh(value / softcap) : value)
    // A cap makes the gradient of a large logit smaller than its rounding.
    const values = softcap > 0 ? (random: { normal(): number }) => 8 * random.normal() : spread
    const logits = { shape: [rows, columns], dtype: 'float32', values } as const
    // Targets in this part, in the parts beside it, and none.
    const targets = {
      shape: [rows],
      dtype: 'int32',
      values: (random: { integer(bound: number): number }, i: number) =>
        [first + random.integer(columns), first + columns, -2][i % 3]!,
    } as const
    const running = { shape: [rows, 4], dtype: 'float32', role: first > 0 ? 'inout' : 'out', values: soFar } as const
    const after = (values: Record<'logits' | 'targets' | 'running', Host>) =>
      Array.from({ length: rows }, (_, row) => {
        const own = Array.from({ length: columns }, (_, j) => cap(values.logits.at(row, j)))
        const before = [0, 1, 2, 3].map((j) => values.running.at(row, j))
        return { own, ...rowAfter(own, before, first, values.targets.at(row)) }
      })
    const runningOf = (made: ReturnType<typeof after>) => Host.of([rows, 4], (row, j) => made[row]!.running[j]!)
    const exponentialsOf = (made: ReturnType<typeof after>) =>
      Host.of([rows, columns], (row, j) => {
        const slope = softcap > 0 ? 1 - (made[row]!.own[j]! / softcap) ** 2 : 1
        return slope * made[row]!.exponentials[j]!
      })
    const name = `crossEntropyPart [${rows}, ${columns}] from ${first}${softcap ? ' of capped logits' : ''}`
    // The second part of the sum is below the last place of the first.
    const slack = { float32: 1e-5, bfloat16: 1e-5 }
    const part = { first, softcap }
    return [
      operationCase({
        name,
        needs,
        slack,
        operands: { logits, targets, running },
        call: (tensors) => native.crossEntropyPart({ ...tensors, part }),
        reference: (values) => ({ running: runningOf(after(values)) }),
      }),
      operationCase({
        name: `${name} with exponentials`,
        needs,
        slack,
        operands: {
          logits,
          targets,
          running,
          exponentials: { shape: [rows, columns], dtype: 'activation', role: 'out' },
          sums: { shape: [rows, width], dtype: 'float32', role: 'inout' },
          values: { shape: [columns, width], dtype: 'activation' },
          chosen: { shape: [rows, width], dtype: 'activation', role: 'inout' },
        },
        call: (tensors) => native.crossEntropyPart({ ...tensors, part }),
        reference: (values) => {
          const made = after(values)
          return {
            running: runningOf(made),
            exponentials: exponentialsOf(made),
            sums: Host.of([rows, width], (row, j) => values.sums.at(row, j) * (first > 0 ? made[row]!.shrunk : 1)),
            chosen: Host.of([rows, width], (row, j) => {
              const at = values.targets.at(row) - first
              return at >= 0 && at < columns ? values.values.at(at, j) : values.chosen.at(row, j)
            }),
          }
        },
      }),
      operationCase({
        name: `${name} with exponentials in the logits' memory`,
        needs,
        slack,
        dtypes: ['float32'],
        operands: { logits: { ...logits, role: 'inout' }, targets, running },
        call: (tensors) => native.crossEntropyPart({ ...tensors, part, exponentials: tensors.logits }),
        reference: (values) => {
          const made = after(values)
          return { running: runningOf(made), logits: exponentialsOf(made) }
        },
      }),
    ]
  }),
)

const ends = [0, 1, 41].flatMap((rows) =>
  [0, 30].flatMap((softcap) => {
    const targets = {
      shape: [rows],
      dtype: 'int32',
      values: (_: unknown, i: number) => (i % 3 === 2 ? -1 : i),
    } as const
    // The largest is the largest, and the sum has its exponential and the target's.
    const known = (random: { normal(): number }, i: number) =>
      [9, 1.5 + Math.abs(random.normal()), 1e-8, 8.9 - Math.abs(random.normal())][i % 4]!
    const running = { shape: [rows, 4], dtype: 'float32', values: known } as const
    const losses = { shape: [rows], dtype: 'float32', role: 'out' } as const
    const lossOf = (values: Record<'running' | 'targets', Host>, row: number) =>
      Math.log(values.running.at(row, 1) + values.running.at(row, 2)) - (values.running.at(row, 3) - 9)
    const lossesOf = (values: Record<'running' | 'targets', Host>) =>
      Host.of([rows], (row) => (values.targets.at(row) < 0 ? 0 : lossOf(values, row)))
    const name = `crossEntropyOfParts of ${rows} rows${softcap ? ' of capped logits' : ''}`
    return [
      operationCase({
        name,
        needs,
        operands: { running, targets, losses },
        call: (tensors) => native.crossEntropyOfParts({ ...tensors, softcap, scale: 2 }),
        reference: (values) => ({ losses: lossesOf(values) }),
      }),
      operationCase({
        name: `${name} with gradients`,
        needs,
        operands: {
          running,
          targets,
          losses,
          sums: { shape: [rows, 37], dtype: 'float32' },
          dX: { shape: [rows, 37], dtype: 'activation', role: 'inout' },
        },
        call: (tensors) => native.crossEntropyOfParts({ ...tensors, softcap, scale: 2 }),
        reference: (values) => ({
          losses: lossesOf(values),
          dX: Host.of([rows, 37], (row, j) => {
            if (values.targets.at(row) < 0) return 0
            const slope = softcap > 0 ? 1 - (values.running.at(row, 3) / softcap) ** 2 : 1
            const ofTarget = slope * Math.expm1(-lossOf(values, row)) * values.dX.at(row, j)
            return 2 * (values.sums.at(row, j) / (values.running.at(row, 1) + values.running.at(row, 2)) + ofTarget)
          }),
        }),
      }),
    ]
  }),
)

export const lossParts: Record<'crossEntropyPart' | 'crossEntropyOfParts', OperationCase[]> = {
  crossEntropyPart: parts,
  crossEntropyOfParts: ends,
}
