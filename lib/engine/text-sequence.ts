import { RunError } from '../common/errors.js'
import type { ModelView, TokenMemory } from '../models/index.js'
import type { NewToken } from '../tensor/operations/sampling.js'
import { LogitsEdits } from './logits-edits.js'
import type { PagePool } from './pages.js'
import type { EngineRequest, FinishReason } from './request.js'
import { Sequence } from './sequence.js'

/** A sequence that is generated: a prompt and its completion. */
export class TextSequence extends Sequence<NewToken, FinishReason> {
  readonly #edits: LogitsEdits | null

  /** @param limit maximum number of new tokens */
  constructor(
    view: ModelView,
    memory: TokenMemory,
    readonly request: EngineRequest,
    readonly limit: number,
  ) {
    super(view, memory, request.ids)
    const { edits, ids, stopIds } = request
    const { vocabularySize } = view.config
    this.#edits = edits ? new LogitsEdits(edits, ids, { stopIds, vocabularySize }) : null
  }

  override reusePrefix(pool: PagePool, isPending: (key: string) => boolean): boolean {
    const isReady = super.reusePrefix(pool, isPending)
    // Not after a preemption, when tokens of the completion may be cached.
    if (isReady && this.length === this.prompt.length) this.request.onBegin?.(this.computed)
    return isReady
  }

  get chunk(): number {
    const { isExact } = this
    const prompt = this.prompt.length
    // For exact results, sampled tokens are recomputed one by one after a preemption, as in decode.
    if (isExact && this.computed >= prompt) return 1
    return this.chunkBefore(isExact ? prompt : this.length)
  }

  /** Whether the next step samples a token. */
  get isSampling(): boolean {
    return this.computed + this.chunk === this.length
  }

  /** Returns how the next token is sampled; null for a finished sequence, or one whose constraint fails, which finishes it. */
  async choice() {
    if (this.isFinished) return null
    const { sampling, random, constraint, topLogprobs } = this.request
    const uniform = sampling.temperature === 0 ? 0 : random.uniform()
    try {
      const mask = await constraint?.mask()
      return { ...sampling, uniform, changes: this.#edits?.changes, mask, topLogprobs }
    } catch (error) {
      this.results.fail(error)
      return null
    }
  }

  /** Counts the chunk as computed, and appends the sampled token, if any. */
  accept(token: NewToken | RunError | null, pool: PagePool): void {
    this.advance(pool)
    if (!token || this.isFinished) return
    try {
      if (token instanceof RunError) throw token
      this.#add(token)
    } catch (error) {
      this.results.fail(error)
    }
  }

  /** For exact results, the prompt's. */
  protected get cacheable(): number {
    return this.isExact ? this.prompt.length : this.length
  }

  #add(token: NewToken): void {
    const { id } = token
    const { stopIds, constraint } = this.request
    this.ids.push(id)
    this.#edits?.push(id)
    this.results.push(token)
    if (stopIds.has(id)) {
      this.results.finish('stop')
      return
    }
    constraint?.accept(id)
    if (this.length - this.prompt.length === this.limit) this.results.finish('length')
  }
}
