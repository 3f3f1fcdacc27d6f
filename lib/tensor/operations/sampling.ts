/** Which token comes next, given the logits: chosen on their device. */

import { RunError } from '../../common/errors.js'
import { native } from '../../native/addon.js'
import { scope } from '../scope.js'
import { Tensor } from '../tensor.js'

/** How a token is chosen from logits. */
export interface Sampling {
  /** Divides the logits; 0 takes the likeliest token. */
  temperature: number
  /** Keep the K likeliest tokens; 0 keeps all. */
  topK: number
  /** Then keep the fewest likeliest tokens that together have at least this probability; 1 keeps all. */
  topP: number
}

export const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1 }

/** How one token is chosen. */
export interface TokenChoice extends Sampling {
  /** The random number in [0, 1) that draws it; at temperature 0 it does not matter. */
  uniform: number
}

/**
 * The token that comes next by each row of logits [N, V], as ids [N] (int32). Of equally likely tokens the first comes
 * first. A row with a NaN or +Infinity, or of nothing but -Infinity, gives -1 - id of the first such logit.
 *
 * @param uniforms N numbers in [0, 1); not read at temperature 0
 */
export function chooseTokens(
  logits: Tensor,
  { temperature, topK, topP }: Sampling,
  uniforms: readonly number[],
): Tensor {
  const { device } = logits
  return scope(() => {
    const ids = Tensor.empty([logits.shape[0]!], { device, dtype: 'int32' })
    if (temperature === 0) {
      native.argmax(logits.native, ids.native)
      return ids
    }
    // 53 bits: all that uniform numbers of a random stream have.
    const bits = BigInt64Array.from(uniforms, (uniform) => BigInt(Math.floor(uniform * 2 ** 53)))
    const draws = Tensor.from(bits, [bits.length], { device, dtype: 'int64' })
    native.sample(logits.native, draws.native, { temperature, topK, topP }, ids.native)
    return ids
  })
}

/** The error of a model that computes a number that is not finite. */
export function damagedModel(what: string, value: number): RunError {
  return new RunError(
    'non-finite',
    `The model's ${what} is ${value}: its weights or its adapter are damaged, or its numbers overflow its dtype.`,
  )
}

/**
 * The token that comes next by logits [1, V]; only its id leaves the device.
 * @throws RunError `non-finite`
 */
export async function chooseToken(logits: Tensor, choice: TokenChoice): Promise<number> {
  const ids = chooseTokens(logits, choice, [choice.uniform])
  try {
    const id = await ids.item()
    if (id >= 0) return id
    const values = await logits.data()
    throw damagedModel(`logit of token ${-1 - id}`, values[-1 - id] as number)
  } finally {
    ids.dispose()
  }
}
