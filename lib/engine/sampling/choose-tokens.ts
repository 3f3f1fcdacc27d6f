/** Chooses the next token of every sequence of a batch, in as few operations as possible. */

import { RunError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { gatherRows } from '../../tensor/operations/indexing.js'
import {
  cutByDeviation,
  damagedModel,
  editLogits,
  type LogitChanges,
  maskLogits,
  type RankedToken,
  rankTokens,
  sampleTokens,
  type TokenChoice,
} from '../../tensor/operations/sampling.js'
import type { Tensor } from '../../tensor/tensor.js'

/** How the next token of one sequence is chosen. */
export interface ChoiceOfRow {
  choice: TokenChoice
  /** Changes of single logits; `LogitsEdits` gives them. */
  changes?: LogitChanges | undefined
  /** A bit for each token, in words of 32 bits from the lowest on: 0 forbids it. */
  mask?: Int32Array | undefined
  /** Number of likeliest tokens to list; undefined if the token's probability is not asked for. */
  topLogprobs?: number | undefined
}

/** The token of one sequence, or why there is none. */
export interface ChosenToken {
  /** -1 if there is none. */
  id: number
  /** Its probability among all tokens, if it was asked for. */
  ranked?: RankedToken
  error?: RunError
}

/**
 * Chooses a token for each row of logits [N, V] (float32), which its changes and masks change in place. Probabilities that are
 * asked for are those of the logits before.
 */
export async function chooseTokens(logits: Tensor, rows: readonly ChoiceOfRow[]): Promise<ChosenToken[]> {
  const edited = rows.some(({ changes }) => changes)
  const masked = rows.some(({ mask }) => mask)
  const choices = rows.map(({ choice }) => choice)
  const cut = choices.some(({ topNSigma = 0 }) => topNSigma > 0)
  const asking = rows.flatMap(({ topLogprobs }, row) => (topLogprobs === undefined ? [] : [row]))
  // Only changes need a copy of whole rows.
  const copies = asking.length > 0 && (edited || masked || cut || asking.length < rows.length)
  using raw = copies ? gatherRows(logits, asking) : null
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
  if (cut) await cutByDeviation(logits, choices)
  using tokens = sampleTokens(logits, choices)
  const ids = Array.from(await tokens.data(), Number)
  const damaged = ids.some((id) => id < 0) ? ((await logits.data()) as Float32Array) : null
  const chosen = ids.map((id, row): ChosenToken => {
    return id >= 0
      ? { id }
      : { id: -1, error: noToken(-1 - id, damaged![row * logits.shape[1]! - 1 - id]!, rows[row]!) }
  })
  if (asking.length === 0) return chosen
  const most = Math.max(...asking.map((row) => rows[row]!.topLogprobs!))
  const known = asking.map((row) => Math.max(0, ids[row]!))
  const ranked = await rankTokens(raw ?? logits, known, most)
  for (const [i, row] of asking.entries()) {
    const token = chosen[row]!
    const { top, ...rest } = ranked[i]!
    if (!token.error) token.ranked = { ...rest, top: top.slice(0, rows[row]!.topLogprobs) }
  }
  return chosen
}

function noToken(id: number, value: number, { changes, mask }: ChoiceOfRow): RunError {
  if (value !== Number.NEGATIVE_INFINITY || !(changes || mask)) return damagedModel(`logit of token ${id}`, value)
  return new RunError(
    'no-token-left',
    `Every token is forbidden here: by ${optionName('badWords')}, ${optionName('noRepeatNgram')}, ${optionName('minNewTokens')}, or what the answer must conform to; allow more.`,
  )
}
