import { ItemQueue } from '../common/item-queue.js'
import type { ModelView, SequencePart, TokenMemory } from '../models/index.js'
import { PAGE, type PagePool, pageKey } from './pages.js'

/** Maximum number of tokens of a chunk in prefill. */
const CHUNK = 512
/** Maximum cost of a chunk: after a long context chunks have fewer tokens, so that steps stay short. */
const MOST_COST = 2 * CHUNK

/** A sequence of the engine: its tokens, the pages with their keys and values, and the results that its caller reads. */
export abstract class Sequence<Item = unknown, End = unknown> {
  readonly ids: number[]
  /** Whether results must not depend on which other sequences share a forward pass: in float32 on the CPU. */
  readonly isExact: boolean
  /** Whether the model has recurrent states, which the prefix cache does not hold. */
  readonly #hasStates: boolean
  readonly results = new ItemQueue<Item, End>()
  /** Allocated pages, in the order of the tokens. */
  readonly pages: number[] = []
  /** Whether the caller has stopped reading. */
  isCancelled = false
  /** Slot of the recurrent states. */
  slot = 0
  /** Number of tokens whose keys and values are computed. */
  computed = 0
  /** Keys of the first pages, computed on demand. */
  #keys: string[] = []
  /** Version of the weights that the first tokens are computed with, a part of the pages' keys. */
  #weights = 0
  /** Row of each token in the memory. */
  #rows = new Int32Array(0)
  /** Whether the rotary angles use LongRoPE's long factors. */
  #hasLongFactors: boolean
  /** Cost of a token after one token of context, beyond that of a token without context. */
  readonly #contextCost: number
  /** Resolves `removed`. */
  remove = (): void => {}
  /** Resolves once the engine has released the sequence. */
  readonly removed = new Promise<void>((resolve) => {
    this.remove = resolve
  })

  constructor(
    /** Computes its tokens. */
    readonly view: ModelView,
    memory: TokenMemory,
    readonly prompt: readonly number[],
  ) {
    this.ids = [...prompt]
    this.isExact = view.device.kind === 'cpu' && memory.dtype === 'float32'
    this.#hasStates = memory.hasStates
    this.#contextCost = contextCost(view.config)
    this.#hasLongFactors = this.#needsLongFactors
  }

  /** Number of tokens to compute, computed ones included. */
  get length(): number {
    return this.ids.length
  }

  /** Number of allocated pages. */
  get allocated(): number {
    return this.pages.length
  }

  /** Number of tokens of the next step. */
  abstract get chunk(): number

  /** Number of tokens without context whose products take as long as the products of the next step. */
  get cost(): number {
    return this.chunk * tokenCost(this.computed, this.#contextCost)
  }

  /** Returns the size of the next chunk of tokens before `end`. */
  protected chunkBefore(end: number): number {
    const most = this.isExact ? PAGE : largestChunk(this.computed, this.#contextCost)
    return Math.min(end - this.computed, most - (this.computed % most))
  }

  /** The tokens of the next step, in the parts of a forward pass. */
  get parts(): readonly SequencePart[] {
    const known = this.computed + this.chunk
    const { slot, rowLength } = this
    return [{ ids: this.ids.slice(this.computed, known), known, rows: this.#rows, slot, rowLength }]
  }

  /** Number of tokens that decides the rotary angles of the next chunk: of a long sequence (LongRoPE), all. */
  get rowLength(): number {
    return this.#hasLongFactors ? this.ids.length : Math.max(this.computed + this.chunk, this.prompt.length)
  }

  /** Row of each token in the memory, up to the end of the last page. */
  get rows(): Int32Array {
    return this.#rows
  }

  /** Whether the first tokens are computed with weights of this version. */
  usesWeights(weights: number | undefined): boolean {
    return this.#weights === weights
  }

  /** Sets the version of the weights before the first chunk. */
  setWeights(weights: number): void {
    if (this.usesWeights(weights)) return
    this.#weights = weights
    this.#keys = []
  }

  /**
   * Acquires the longest cached prefix; returns false if a running sequence is computing its next page. The last token is never taken
   * from the cache, since its logits are needed.
   */
  reusePrefix(pool: PagePool, isPending: (key: string) => boolean): boolean {
    const keys = this.#keysOf(Math.min(this.ids.length - 1, this.cacheable))
    const missing = keys.findIndex((key) => !pool.has(key))
    if (missing >= 0 && isPending(keys[missing]!)) return false
    for (const key of missing < 0 ? keys : keys.slice(0, missing)) this.#addPage(pool.acquire(key)!)
    this.computed = this.allocated * PAGE
    return true
  }

  /** Keys of the full pages that are not computed yet. */
  get pendingKeys(): readonly string[] {
    return this.#keysOf(this.cacheable).slice(Math.floor(this.computed / PAGE))
  }

  /** Allocates the pages for the next chunk. */
  allocate(pool: PagePool): void {
    while (this.allocated * PAGE < this.computed + this.chunk) this.#addPage(pool.allocate())
  }

  /** Counts the chunk as computed, and registers its full pages in the prefix cache. */
  protected advance(pool: PagePool): void {
    const before = Math.floor(this.computed / PAGE)
    this.computed += this.chunk
    const keys = this.#keysOf(Math.min(this.computed, this.cacheable))
    for (let page = before; page < keys.length; page++) pool.register(this.pages[page]!, keys[page]!)
  }

  /** Whether nothing more is computed: the sequence has ended, or is cancelled. */
  get isFinished(): boolean {
    return this.isCancelled || this.results.ended
  }

  /** Releases all pages, so that every token has to be computed again. */
  release(pool: PagePool): void {
    for (const page of this.pages) pool.release(page)
    this.pages.length = 0
    this.#rows = new Int32Array(0)
    this.computed = 0
  }

  /** Whether its length has crossed LongRoPE's limit, so that all tokens must be recomputed with the long factors. */
  get crossesLongRope(): boolean {
    return this.#needsLongFactors !== this.#hasLongFactors
  }

  /** Releases all pages, and computes every token again with the factors of the present length. */
  restart(pool: PagePool): void {
    this.release(pool)
    this.#hasLongFactors = this.#needsLongFactors
    this.#keys = []
  }

  /** Number of tokens that the prefix cache may hold. */
  protected abstract get cacheable(): number

  /** Returns the keys of the full pages among the first tokens. */
  #keysOf(tokens: number): readonly string[] {
    if (this.#hasStates) return []
    const count = Math.floor(tokens / PAGE)
    while (this.#keys.length < count) {
      const from = this.#keys.length * PAGE
      const before = this.#keys.at(-1) ?? `${this.view.choice} ${this.#weights} ${this.#hasLongFactors}`
      this.#keys.push(pageKey(before, this.ids.slice(from, from + PAGE)))
    }
    return this.#keys.slice(0, count)
  }

  get #needsLongFactors(): boolean {
    return this.ids.length >= this.view.longRowsFrom
  }

  #addPage(page: number): void {
    const rows = new Int32Array(this.#rows.length + PAGE)
    rows.set(this.#rows)
    for (let token = 0; token < PAGE; token++) rows[this.#rows.length + token] = page * PAGE + token
    this.pages.push(page)
    this.#rows = rows
  }
}

/**
 * Returns the maximum size of a chunk after `computed` tokens: a power of two, the same in each `CHUNK` tokens, so that chunks end at
 * the same places after a cached prefix.
 */
export function largestChunk(computed: number, contextCost: number): number {
  let size = CHUNK
  while (size > PAGE && size * tokenCost(computed, contextCost) > MOST_COST) size /= 2
  return size
}

const tokenCost = (computed: number, contextCost: number): number => 1 + (computed - (computed % CHUNK)) * contextCost

/** Returns the products of attention to one token of context, as a share of the products of a block's linear layers. */
function contextCost({ hiddenSize, intermediateSize, heads, keyValueHeads, headSize }: ModelView['config']): number {
  return (2 * heads * headSize) / (hiddenSize * (2 * (heads + keyValueHeads) * headSize + 3 * intermediateSize))
}
