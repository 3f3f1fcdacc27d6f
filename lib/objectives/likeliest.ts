/** The likeliest tokens of a model, in place of all its logits. */
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { clamp, exp, log } from '../tensor/operations/arithmetic.js'
import { sum } from '../tensor/operations/reductions.js'
import { concat, reshape } from '../tensor/operations/reshaping.js'
import { scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { oneMinus } from './formulas.js'
import { LOGITS_AT_ONCE, type States } from './objective.js'

/** Returns the ids of the k likeliest tokens after each target's place, the likeliest first, and the logarithms of their probabilities. */
export async function likeliest(
  states: States,
  targets: number,
  k: number,
  logOf: (logits: Tensor) => Tensor,
): Promise<Float32Array> {
  const found = new Float32Array(2 * k * targets)
  for (let from = 0; from < targets; from += LOGITS_AT_ONCE) {
    const to = Math.min(targets, from + LOGITS_AT_ONCE)
    using logs = noGrad(() => scope(() => logOf(states.logits(from, to))))
    const [values, size] = [(await logs.data()) as Float32Array, logs.shape[1]!]
    if (k > size)
      throw new UsageError(
        'bad-value',
        `Expected at most ${size} for ${optionName('teacherTopK')}, the teacher's tokens, but received ${k}.`,
      )
    for (let row = from; row < to; row++) {
      const own = values.subarray((row - from) * size, (row - from + 1) * size)
      const [ids, best] = [found.subarray(2 * k * row), found.subarray(2 * k * row + k)]
      let count = 0
      for (const [id, value] of own.entries()) {
        if (count === k && value <= best[k - 1]!) continue
        if (count < k) count++
        let place = count - 1
        for (; place > 0 && best[place - 1]! < value; place--) {
          best[place] = best[place - 1]!
          ids[place] = ids[place - 1]!
        }
        best[place] = value
        ids[place] = id
      }
    }
  }
  return found
}

/** Probabilities below this count as this, so that they have logarithms. */
const LEAST = 1e-30

/** Returns ids [n k] and logarithms [n, k + 1] of what `likeliest` found, the last one that of all other tokens together. */
export function likeliestIn(found: Float32Array, k: number, logits: Tensor): { ids: Int32Array; wanted: Tensor } {
  const rows = found.length / (2 * k)
  const ids = new Int32Array(rows * k)
  const wanted = new Float32Array(rows * (k + 1))
  for (let row = 0; row < rows; row++) {
    ids.set(found.subarray(2 * k * row, 2 * k * row + k), row * k)
    const logs = found.subarray(2 * k * row + k, 2 * k * (row + 1))
    wanted.set(logs, row * (k + 1))
    const rest = 1 - logs.reduce((total, log) => total + Math.exp(log), 0)
    wanted[row * (k + 1) + k] = Math.log(Math.max(rest, LEAST))
  }
  return { ids, wanted: Tensor.from(wanted, [rows, k + 1], { device: logits.device }) }
}

/** Adds to the logarithms of some probabilities [n, k] that of the rest: [n, k + 1]. */
export function withRest(logs: Tensor): Tensor {
  const [rows, k] = [logs.shape[0]!, logs.shape.length === 1 ? 1 : logs.shape[1]!]
  const some = reshape(logs, [rows, k])
  // In float32, the smallest positive difference from 1 is 2^-24.
  const rest = log(clamp(oneMinus(sum(exp(some), -1)), 2 ** -24, 1))
  return concat([some, reshape(rest, [rows, 1])], 1)
}
