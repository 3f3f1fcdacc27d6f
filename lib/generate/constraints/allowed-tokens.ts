/** Limits texts to some tokens. */
import { UsageError } from '../../common/errors.js'
import { optionName, theOption } from '../../common/option-names.js'
import type { Constraint } from './constraint.js'

/**
 * Returns a constraint that allows only these tokens, and of them what another constraint allows, which it disposes of too.
 * @param vocabularySize V, the number of logits
 */
export function allowOnly(tokens: readonly number[], vocabularySize: number, inner?: Constraint): Constraint {
  const allowed = new Int32Array(Math.ceil(vocabularySize / 32))
  for (const id of tokens) allowed[id >> 5]! |= 1 << (id & 31)
  const both = async (constraint: Constraint) => {
    const mask = (await constraint.mask()).map((word, i) => word & allowed[i]!)
    if (mask.some((word) => word !== 0) || constraint.done) return mask
    throw new UsageError(
      'unsupported-constraint',
      `No token of ${theOption('allowedTokens')} fits the constraint here; allow more, or leave ${optionName('allowedTokens')} out.`,
    )
  }
  return {
    mask: async () => (inner ? both(inner) : allowed),
    accept: (id) => inner?.accept(id),
    get done() {
      return inner?.done ?? false
    },
    reset: () => inner?.reset(),
    dispose: () => inner?.dispose(),
  }
}
