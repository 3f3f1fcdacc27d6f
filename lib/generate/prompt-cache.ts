import type { LoadedModel, SequenceCache } from '../models/index.js'
import type { TokenChoice } from '../tensor/operations/sampling.js'

/** Tokens read in one forward pass: more would need more memory and not be faster. */
const CHUNK = 512
/** Capacities are multiples of this, so that a prompt a little longer than the last one fits. */
const STEP = 256

/** Reads tokens after what the cache holds and returns a result for the next position. */
type Step<Result> = (ids: readonly number[], cache: SequenceCache) => Promise<Result>

/**
 * A cache that knows which tokens it holds: if a prompt begins like the last one, only the rest is read, unless `rewind` of the model's
 * cache says that weights or adapters have changed.
 */
export class PromptCache implements Disposable {
  #cache: SequenceCache | null = null
  #ids: number[] = []
  /** Whether the tokens were read with the rotary angles of long rows. */
  #long = false

  constructor(readonly model: LoadedModel) {}

  /**
   * Reads a prompt of at least one token and returns the logits [V] of the next token.
   *
   * @throws the reason of an aborted signal, between parts of a long prompt
   */
  read(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    return this.#readPrompt(ids, 0, (part, cache) => {
      signal?.throwIfAborted()
      return this.model.nextLogits(part, cache)
    })
  }

  /**
   * Reads a prompt of at least one token and chooses the next token.
   *
   * @param reserve how many tokens may follow by `append` without reading the prompt again
   * @throws the reason of an aborted signal, between parts of a long prompt
   */
  choose(ids: readonly number[], choice: TokenChoice, reserve = 0, signal?: AbortSignal): Promise<number> {
    return this.#readPrompt(ids, reserve, (part, cache) => {
      signal?.throwIfAborted()
      return this.model.nextToken(part, cache, choice)
    })
  }

  /** Reads one more token and chooses the next. */
  append(id: number, choice: TokenChoice): Promise<number> {
    const { length } = this.#ids
    const turns = this.#isLong(length + 1) !== this.#long
    if (!this.#cache || length >= this.#cache.capacity || turns) return this.choose([...this.#ids, id], choice, STEP)
    return this.#readOn([id], this.#cache, (part, cache) => this.model.nextToken(part, cache, choice))
  }

  /** Forgets every token and frees the memory. */
  clear(): void {
    this.#cache?.dispose()
    this.#cache = null
    this.#ids = []
  }

  dispose(): void {
    this.clear()
  }

  [Symbol.dispose](): void {
    this.clear()
  }

  #isLong(tokens: number): boolean {
    return tokens >= this.model.longRowsFrom
  }

  async #readPrompt<Result>(ids: readonly number[], reserve: number, step: Step<Result>): Promise<Result> {
    const cache = this.#withRoom(ids.length + reserve)
    // The last token is always read, since its pass yields the next one.
    const long = this.#isLong(ids.length)
    let start = cache.rewind(long === this.#long ? Math.min(commonPrefix(this.#ids, ids), ids.length - 1) : 0)
    this.#long = long
    cache.rowLength = ids.length
    this.#ids.length = start
    for (; start + CHUNK < ids.length; start += CHUNK) await this.#readOn(ids.slice(start, start + CHUNK), cache, step)
    return this.#readOn(ids.slice(start), cache, step)
  }

  async #readOn<Result>(ids: readonly number[], cache: SequenceCache, step: Step<Result>): Promise<Result> {
    const result = await step(ids, cache)
    this.#ids.push(...ids)
    return result
  }

  #withRoom(tokens: number): SequenceCache {
    if (this.#cache && this.#cache.capacity >= tokens) return this.#cache
    this.clear()
    const most = Math.max(tokens, this.model.config.maxPositions)
    this.#cache = this.model.createCache(Math.min(Math.ceil(tokens / STEP) * STEP, most))
    return this.#cache
  }
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}
