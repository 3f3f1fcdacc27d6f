import type { SequencePart } from '../models/index.js'
import type { PagePool } from './pages.js'
import { Sequence, type SequenceFacts } from './sequence.js'

/** A token to score. */
interface Target {
  readonly id: number
  /** Index of the computed token that it follows: of the prompt, or of the branches one after the other. */
  readonly after: number
  /** Index of its continuation. */
  readonly of: number
}

/**
 * A sequence that is scored: a prompt, and what follows it in each of several continuations, the branches, which are computed together
 * in one step. The result is the log-probability of each continuation, summed in float64.
 */
export class ScoredSequence extends Sequence<never, number[]> {
  readonly #branches: readonly (readonly number[])[]
  readonly #targets: readonly Target[]
  readonly #length: number
  readonly #values: Float64Array

  private constructor(
    facts: SequenceFacts,
    prompt: readonly number[],
    branches: readonly number[][],
    targets: Target[],
  ) {
    super(facts, prompt)
    this.#branches = branches.filter(({ length }) => length > 0)
    this.#length = branches.reduce((sum, { length }) => sum + length, prompt.length)
    this.#targets = targets
    this.#values = new Float64Array(targets.length)
  }

  /** Makes a sequence of all continuations, after a prompt that is computed once. */
  static ofBranches(
    facts: SequenceFacts,
    prompt: readonly number[],
    continuations: readonly (readonly number[])[],
  ): ScoredSequence {
    // The last token of each is not computed.
    const branches = continuations.map((ids) => ids.slice(0, -1))
    let from = prompt.length
    const targets = continuations.flatMap((ids, of) => {
      const first = from
      from += ids.length - 1
      return ids.map((id, i) => ({ id, of, after: i === 0 ? prompt.length - 1 : first + i - 1 }))
    })
    return new ScoredSequence(facts, prompt, branches, targets)
  }

  /** Makes a sequence of one continuation, whose tokens are computed after those of the prompt. */
  static ofOne(facts: SequenceFacts, prompt: readonly number[], continuation: readonly number[]): ScoredSequence {
    const ids = [...prompt, ...continuation.slice(0, -1)]
    const targets = continuation.map((id, i) => ({ id, of: 0, after: prompt.length - 1 + i }))
    return new ScoredSequence(facts, ids, [], targets)
  }

  override get length(): number {
    return this.#length
  }

  get chunk(): number {
    const prompt = this.prompt.length
    return this.computed < prompt ? this.chunkBefore(prompt) : this.length - this.computed
  }

  override get parts(): readonly SequencePart[] {
    const prompt = this.prompt.length
    if (this.computed < prompt) return super.parts
    const { slot } = this
    let from = prompt
    return this.#branches.map((ids) => {
      const rows = [...this.rows.subarray(0, prompt), ...this.rows.subarray(from, from + ids.length)]
      from += ids.length
      const known = prompt + ids.length
      return { ids, known, rows, slot, rowLength: known }
    })
  }

  /** The targets after tokens of the next step: their ids, and the places of those tokens in the step. */
  get targets(): { readonly ids: readonly number[]; readonly rows: readonly number[] } {
    const targets = this.#next
    return { ids: targets.map(({ id }) => id), rows: targets.map(({ after }) => after - this.computed) }
  }

  /** Counts the chunk as computed, with the log-probabilities of its targets. */
  accept(logProbs: ArrayLike<number>, pool: PagePool): void {
    for (const [i, target] of this.#next.entries()) this.#values[this.#targets.indexOf(target)] = logProbs[i]!
    this.advance(pool)
    if (this.computed < this.length) return
    const sums = new Array<number>(1 + Math.max(...this.#targets.map(({ of }) => of))).fill(0)
    for (const [i, { of }] of this.#targets.entries()) sums[of]! += this.#values[i]!
    this.results.finish(sums)
  }

  protected get cacheable(): number {
    return this.prompt.length
  }

  get #next(): readonly Target[] {
    const end = this.computed + this.chunk
    return this.#targets.filter(({ after }) => after >= this.computed && after < end)
  }
}
