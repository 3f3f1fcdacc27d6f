/** Chooses the next token from logits, on their device. */

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
  /** The random number in [0, 1) that draws it; unused at temperature 0. */
  uniform: number
}

/**
 * Chooses the next token for each row of logits [N, V]: ids [N] (int32). Equally likely tokens are ordered by id. For a row with
 * a NaN or +Infinity, or of -Infinity only, the result is -1 - id of the first such logit.
 *
 * @param uniforms N numbers in [0, 1); unused at temperature 0
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
    // The uniform numbers of a random stream have 53 bits.
    const bits = BigInt64Array.from(uniforms, (uniform) => BigInt(Math.floor(uniform * 2 ** 53)))
    const draws = Tensor.from(bits, [bits.length], { device, dtype: 'int64' })
    native.sample(logits.native, draws.native, { temperature, topK, topP }, ids.native)
    return ids
  })
}

/** Makes the error for a model that computes a number that is not finite. */
export function damagedModel(what: string, value: number): RunError {
  return new RunError(
    'non-finite',
    `The model's ${what} is ${value}: its weights or its adapter are damaged, or its numbers overflow its dtype.`,
  )
}

/**
 * Chooses the next token from logits [1, V]; only its id leaves the device.
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
