import type { LanguageModel, TokenCache } from './language-model.js'

/** Tokens that are read in one forward pass: longer prompts would need more memory and be no faster. */
const CHUNK = 512
/** Capacities are multiples of this, so that a prompt that is a little longer than the last finds room. */
const STEP = 256

/**
 * A key-value cache that knows which tokens it holds: of a prompt that begins like the last one, only the rest is read.
 * Weights and active adapters must not change between two prompts; `clear` after they did.
 */
export class PromptCache implements Disposable {
  #cache: TokenCache | null = null
  #ids: number[] = []

  constructor(readonly model: LanguageModel) {}

  /** Tokens that are held. */
  get length(): number {
    return this.#ids.length
  }

  /**
   * Reads a prompt of at least one token.
   *
   * @param reserve how many tokens may follow by `append` without reading the prompt again
   * @returns logits [V] of what comes next
   */
  async read(ids: readonly number[], reserve = 0): Promise<Float32Array> {
    const cache = this.#withRoom(ids.length + reserve)
    // The last token is read in any case: its logits are wanted.
    const shared = Math.min(commonPrefix(this.#ids, ids), ids.length - 1)
    cache.length = shared
    this.#ids.length = shared
    let logits: Float32Array = new Float32Array(0)
    for (let start = shared; start < ids.length; start += CHUNK) {
      logits = await this.#readOn(ids.slice(start, start + CHUNK), cache)
    }
    return logits
  }

  /** Reads one more token and returns the logits [V] of what comes next. */
  append(id: number): Promise<Float32Array> {
    if (!this.#cache || this.#ids.length >= this.#cache.capacity) return this.read([...this.#ids, id], STEP)
    return this.#readOn([id], this.#cache)
  }

  /** Forgets every token and gives the memory back. */
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

  async #readOn(ids: readonly number[], cache: TokenCache): Promise<Float32Array> {
    const logits = await this.model.next(ids, cache)
    this.#ids.push(...ids)
    return logits
  }

  #withRoom(tokens: number): TokenCache {
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
