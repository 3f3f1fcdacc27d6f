/** Chooses the next token of every row of a batch, in as few operations as possible. */
import { RunError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { Tensor } from '../tensor.js'
import { gatherRows } from './indexing.js'
import {
  cutByDeviation,
  damagedModel,
  editLogits,
  type LogitChanges,
  maskLogits,
  type NewToken,
  rankTokens,
  sampleTokens,
  type TokenChoice,
} from './sampling.js'

/** Options of choosing the next token of one row. */
interface RowChoice extends TokenChoice {
  /** Changes of single logits; `LogitsEdits` gives them. */
  changes?: LogitChanges | undefined
  /** A bit for each token, in words of 32 bits from the lowest on: 0 forbids it. */
  mask?: Int32Array | undefined
  /** Number of likeliest tokens to list; undefined: no log-probabilities. */
  topLogprobs?: number | undefined
}

/**
 * Chooses a token for each row of logits [N, V] (float32), which changes and masks overwrite; a row without a token has its error.
 * Log-probabilities are computed from the original logits.
 */
export async function chooseTokens(logits: Tensor, rows: readonly RowChoice[]): Promise<(NewToken | RunError)[]> {
  const edited = rows.some(({ changes }) => changes)
  const masked = rows.some(({ mask }) => mask)
  const cut = rows.some(({ topNSigma = 0 }) => topNSigma > 0)
  const ranking = rows.flatMap(({ topLogprobs }, row) => (topLogprobs === undefined ? [] : [row]))
  // Only changes need a copy of whole rows.
  const copies = ranking.length > 0 && (edited || masked || cut || ranking.length < rows.length)
  using original = copies ? gatherRows(logits, ranking) : null
  if (edited)
    editLogits(
      logits,
      rows.map(({ changes }) => changes),
    )
  if (masked)
    maskLogits(
      logits,
      rows.map(({ mask }) => mask),
    )
  if (cut) await cutByDeviation(logits, rows)
  using tokens = sampleTokens(logits, rows)
  const ids = Array.from(await tokens.data(), Number)
  const values = ids.some((id) => id < 0) ? await logits.data() : null
  const chosen = ids.map((id, row): NewToken | RunError => {
    return id >= 0 ? { id } : noToken(-1 - id, Number(values![row * logits.shape[1]! - 1 - id]), rows[row]!)
  })
  if (ranking.length === 0) return chosen
  const most = Math.max(...ranking.map((row) => rows[row]!.topLogprobs!))
  const ranked = await rankTokens(
    original ?? logits,
    ranking.map((row) => Math.max(0, ids[row]!)),
    most,
  )
  for (const [i, row] of ranking.entries())
    if (ids[row]! >= 0) chosen[row] = { ...ranked[i]!, top: ranked[i]!.top.slice(0, rows[row]!.topLogprobs) }
  return chosen
}

function noToken(id: number, value: number, { changes, mask }: RowChoice): RunError {
  if (value !== Number.NEGATIVE_INFINITY || !(changes || mask)) return damagedModel(`logit of token ${id}`, value)
  return new RunError(
    'no-token-left',
    `Every token is forbidden here: by ${optionName('badWords')}, ${optionName('noRepeatNgram')}, ${optionName('minNewTokens')}, or what the answer must conform to; allow more.`,
  )
}
