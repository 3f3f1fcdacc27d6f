/** Edits of single logits by the tokens of a sequence: penalties, biases and forbidden tokens. */
import { UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import type { LogitChanges } from '../tensor/operations/sampling.js'
import type { Tokenizer } from '../text/tokenizer.js'

/** Edits of logits before sampling: biases, then penalties; a forbidden token stays forbidden whatever they add. */
export interface EditOptions {
  /** Divides positive logits of the tokens of prompt and completion, and multiplies negative ones; default 1. */
  repetitionPenalty?: number
  /** Subtracted from the logits of the completion's tokens; default 0. */
  presencePenalty?: number
  /** Subtracted from the logit of a token once for each of its occurrences in the completion; default 0. */
  frequencyPenalty?: number
  /** Added to logits, by token. */
  logitBias?: Readonly<Record<string, number>>
  /** Token sequences whose last token is forbidden after the others. */
  badWords?: readonly (readonly number[])[]
  /** Length of n-grams that must not repeat, prompt included; default 0: all may repeat. */
  noRepeatNgram?: number
  /** Minimum number of new tokens: stop tokens are forbidden before it; default 0. */
  minNewTokens?: number
}

/** Tokens of the model that edits need. */
interface EditTokens {
  /** Stop tokens. */
  readonly stopIds: Iterable<number>
  /** One more than the highest token. */
  readonly vocabularySize: number
}

/**
 * The changes of one sequence's logits, updated token by token: a token costs as much as the words and n-grams that it continues, not
 * as the whole sequence.
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
  /** Number of occurrences of each token in the completion. */
  readonly #counts = new Map<number, number>()
  /** The tokens that followed each sequence of `#ngram` - 1 tokens. */
  readonly #followers = new Map<string, number[]>()
  /** Index of each token's change. */
  readonly #places = new Map<number, number>()
  #ids = new Int32Array(16)
  #values = new Float32Array(3 * 16)
  #newTokens = 0
  /** Tokens forbidden in the next choice only, with the biases that they have otherwise. */
  readonly #banned: { id: number; bias: number }[] = []
  /** Number of lasting changes; later ones only forbid tokens in the next choice. */
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
    for (const id of prompt) this.#append(id)
    this.#ban()
  }

  /** The changes for the next choice, valid until the next `push`; undefined if there are none. */
  get changes(): LogitChanges | undefined {
    const count = this.#places.size
    return count === 0 ? undefined : { ids: this.#ids.subarray(0, count), values: this.#values.subarray(0, 3 * count) }
  }

  /** Appends a token of the completion. */
  push(id: number): void {
    this.#liftBans()
    this.#newTokens++
    this.#append(id)
    if (this.#presence !== 0 || this.#frequency !== 0) {
      const count = (this.#counts.get(id) ?? 0) + 1
      this.#counts.set(id, count)
      this.#values[this.#changeOf(id) + 2] = -(this.#presence + this.#frequency * count)
    }
    this.#ban()
  }

  #append(id: number): void {
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

/** @throws UsageError `unfit-options` for tokens that the model does not have */
export function requireTokens(option: string, ids: readonly number[], vocabularySize: number): void {
  const wrong = ids.find((id) => !(id >= 0 && id < vocabularySize))
  if (wrong === undefined) return
  throw new UsageError(
    'unfit-options',
    `${TheOption(option)} names the token ${wrong}, but the model's tokens are 0 to ${vocabularySize - 1}.`,
  )
}

/**
 * Returns the token sequences of forbidden words: of each word at the beginning of a text, and, where that gives other tokens in the same
 * number, after a space.
 */
export async function badWordTokens(
  tokenizer: Pick<Tokenizer, 'encodeContinuation'>,
  words: readonly string[],
): Promise<number[][]> {
  const both = words.map(async (word) => {
    const [plain, spaced] = await Promise.all([
      tokenizer.encodeContinuation(word.trimStart()),
      tokenizer.encodeContinuation(` ${word.trimStart()}`),
    ])
    return spaced.length === plain.length && spaced[0] !== plain[0] ? [plain, spaced] : [plain]
  })
  return (await Promise.all(both)).flat()
}
