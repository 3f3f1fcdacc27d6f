/** Changes of single logits by what a sequence has said: penalties, biases and forbidden tokens. */

import { UsageError } from '../../common/errors.js'
import { TheOption } from '../../common/option-names.js'
import type { LogitChanges } from '../../tensor/operations/sampling.js'

/** What changes logits before a token is chosen, in this order: biases, penalties; bans hold in any case. */
export interface EditOptions {
  /** Divides positive logits of tokens of the prompt and the answer, and multiplies negative ones; default 1. */
  repetitionPenalty?: number
  /** Subtracted from the logits of tokens of the answer; default 0. */
  presencePenalty?: number
  /** Subtracted from the logit of a token for each time that the answer has it; default 0. */
  frequencyPenalty?: number
  /** Added to logits, by token. */
  logitBias?: Readonly<Record<string, number>>
  /** Token sequences that are never completed. */
  badWords?: readonly (readonly number[])[]
  /** Length of token sequences that do not repeat, prompt included; default 0: all may. */
  noRepeatNgram?: number
  /** Least number of new tokens: no token ends the answer before; default 0. */
  minNewTokens?: number
}

/** Tokens of the model that edits need. */
interface EditTokens {
  /** Tokens that end the answer. */
  readonly stopIds: Iterable<number>
  /** One more than the highest token. */
  readonly vocabularySize: number
}

/**
 * The changes of one sequence's logits, kept up to date token by token: nothing is counted again, and a token costs as much as
 * the words and n-grams that it continues.
 */
export class LogitsEdits {
  readonly #repetition: number
  readonly #presence: number
  readonly #frequency: number
  readonly #minNewTokens: number
  readonly #words: readonly (readonly number[])[]
  /** Length of n-grams; 0 if they may repeat. */
  readonly #ngram: number
  readonly #stopIds: readonly number[]
  readonly #tokens: number[] = []
  /** How often the answer has each token. */
  readonly #counts = new Map<number, number>()
  /** The tokens that followed each sequence of `#ngram` - 1 tokens. */
  readonly #followers = new Map<string, number[]>()
  /** Index of each token's change. */
  readonly #places = new Map<number, number>()
  #ids = new Int32Array(16)
  #values = new Float32Array(3 * 16)
  #newTokens = 0
  /** Tokens forbidden in the next choice only, and their biases. */
  readonly #banned: { id: number; bias: number }[] = []
  /** Number of changes that stay; those after them are of tokens forbidden in the next choice only. */
  #lasting = 0

  /** @throws UsageError `unfit-options` for tokens that the model does not have */
  constructor(options: EditOptions, prompt: readonly number[], { stopIds, vocabularySize }: EditTokens) {
    const { logitBias = {}, badWords = [] } = options
    this.#repetition = options.repetitionPenalty ?? 1
    this.#presence = options.presencePenalty ?? 0
    this.#frequency = options.frequencyPenalty ?? 0
    this.#minNewTokens = options.minNewTokens ?? 0
    this.#ngram = options.noRepeatNgram ?? 0
    this.#words = badWords.filter((word) => word.length > 1)
    this.#stopIds = [...stopIds]
    requireTokens('logitBias', Object.keys(logitBias).map(Number), vocabularySize)
    requireTokens('badWords', badWords.flat(), vocabularySize)
    for (const [key, bias] of Object.entries(logitBias)) this.#values[this.#changeOf(Number(key))] = bias
    for (const [id, ...others] of badWords) {
      if (id !== undefined && others.length === 0) this.#values[this.#changeOf(id)] = Number.NEGATIVE_INFINITY
    }
    for (const id of prompt) this.#read(id)
    this.#ban()
  }

  /** The changes for the next choice, valid until the next `push`; undefined if there are none. */
  get changes(): LogitChanges | undefined {
    const count = this.#places.size
    return count === 0 ? undefined : { ids: this.#ids.subarray(0, count), values: this.#values.subarray(0, 3 * count) }
  }

  /** Adds a token of the answer. */
  push(id: number): void {
    this.#liftBans()
    this.#newTokens++
    this.#read(id)
    if (this.#presence !== 0 || this.#frequency !== 0) {
      const count = (this.#counts.get(id) ?? 0) + 1
      this.#counts.set(id, count)
      this.#values[this.#changeOf(id) + 2] = -(this.#presence + this.#frequency * count)
    }
    this.#ban()
  }

  #read(id: number): void {
    if (this.#repetition !== 1) this.#values[this.#changeOf(id) + 1] = this.#repetition
    if (this.#ngram === 0 && this.#words.length === 0) return
    const before = this.#lastTokens(this.#ngram - 1)
    if (before !== undefined) {
      const followers = this.#followers.get(before)
      if (followers) followers.push(id)
      else this.#followers.set(before, [id])
    }
    this.#tokens.push(id)
  }

  /** Returns a key of the last tokens; undefined if there are not as many, or n-grams may repeat. */
  #lastTokens(count: number): string | undefined {
    if (count < 0 || this.#tokens.length < count) return undefined
    return this.#tokens.slice(this.#tokens.length - count).join()
  }

  #ban(): void {
    this.#lasting = this.#places.size
    if (this.#newTokens < this.#minNewTokens) for (const id of this.#stopIds) this.#forbid(id)
    for (const word of this.#words) {
      const start = this.#tokens.length - word.length + 1
      if (start >= 0 && word.every((id, i) => i === word.length - 1 || this.#tokens[start + i] === id)) {
        this.#forbid(word.at(-1)!)
      }
    }
    const before = this.#lastTokens(this.#ngram - 1)
    if (before !== undefined) for (const id of this.#followers.get(before) ?? []) this.#forbid(id)
  }

  #forbid(id: number): void {
    const at = this.#changeOf(id)
    this.#banned.push({ id, bias: this.#values[at]! })
    this.#values[at] = Number.NEGATIVE_INFINITY
  }

  #liftBans(): void {
    // The last ban first, since a token may be forbidden twice.
    for (const { id, bias } of this.#banned.reverse()) {
      const place = this.#places.get(id)
      if (place === undefined) continue
      this.#values[3 * place] = bias
      if (place >= this.#lasting) this.#places.delete(id)
    }
    this.#banned.length = 0
  }

  /** Returns where in `#values` a token's bias, factor and shift are; new ones change nothing. */
  #changeOf(id: number): number {
    const known = this.#places.get(id)
    if (known !== undefined) return 3 * known
    const place = this.#places.size
    if (place === this.#ids.length) {
      this.#ids = grown(this.#ids, new Int32Array(2 * place))
      this.#values = grown(this.#values, new Float32Array(6 * place))
    }
    this.#places.set(id, place)
    this.#ids[place] = id
    this.#values.set([0, 1, 0], 3 * place)
    return 3 * place
  }
}

function grown<List extends Int32Array | Float32Array>(list: List, longer: List): List {
  longer.set(list)
  return longer
}

function requireTokens(option: string, ids: readonly number[], vocabularySize: number): void {
  const wrong = ids.find((id) => !(id >= 0 && id < vocabularySize))
  if (wrong === undefined) return
  throw new UsageError(
    'unfit-options',
    `${TheOption(option)} names the token ${wrong}, but the model's tokens are 0 to ${vocabularySize - 1}.`,
  )
}
