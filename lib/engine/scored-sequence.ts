import type { SequencePart } from '../models/index.js'
import type { PagePool } from './pages.js'
import type { ScoredPrompt } from './request.js'
import { Sequence, type SequenceFacts } from './sequence.js'

/** Maximum number of tokens of branches in a step; one branch is always computed. */
const TOGETHER = 512

/** A token to score. */
interface Target {
  readonly id: number
  /** Place of the token that it follows, in the order of computation. */
  readonly after: number
  /** Index of its continuation, of all prompts. */
  readonly of: number
}

/** Tokens that follow the common beginning, or another branch. */
interface Branch {
  readonly ids: readonly number[]
  readonly parent: Branch | null
  /** Place of its first token, in the order of computation. */
  readonly from: number
}

/**
 * A sequence that is scored: prompts with a common beginning, and several continuations of each. The beginning is computed first, then
 * what follows it in each prompt, then what follows the prompts. The result is the log-probability of each continuation, summed in
 * float64.
 */
export class ScoredSequence extends Sequence<never, number[]> {
  readonly #branches: Branch[] = []
  readonly #targets: Target[] = []
  /** Where the steps of the branches end. */
  readonly #ends: number[] = []
  readonly #values: number[] = []
  #length: number

  private constructor(facts: SequenceFacts, beginning: readonly number[]) {
    super(facts, beginning)
    this.#length = beginning.length
  }

  /** Makes a sequence of prompts that have their first `common` tokens in common. */
  static ofPrompts(facts: SequenceFacts, prompts: readonly ScoredPrompt[], common: number): ScoredSequence {
    const sequence = new ScoredSequence(facts, prompts[0]!.ids.slice(0, common))
    const rests = prompts.map(({ ids }) => (ids.length > common ? sequence.#grow(ids.slice(common), null) : null))
    sequence.#endStep()
    let of = 0
    for (const [i, { continuations }] of prompts.entries()) {
      const parent = rests[i]!
      for (const ids of continuations) {
        const last = parent ? parent.from + parent.ids.length - 1 : common - 1
        sequence.#targets.push({ id: ids[0]!, after: last, of })
        // The last token is not computed.
        const { from } = sequence.#grow(ids.slice(0, -1), parent)
        for (const [place, id] of ids.slice(1).entries()) sequence.#targets.push({ id, after: from + place, of })
        of++
      }
    }
    sequence.#endStep()
    return sequence
  }

  /** Makes a sequence of one continuation, whose tokens are computed as those of the prompt. */
  static ofOne(facts: SequenceFacts, prompt: readonly number[], continuation: readonly number[]): ScoredSequence {
    const sequence = new ScoredSequence(facts, [...prompt, ...continuation.slice(0, -1)])
    for (const [place, id] of continuation.entries())
      sequence.#targets.push({ id, of: 0, after: prompt.length - 1 + place })
    return sequence
  }

  override get length(): number {
    return this.#length
  }

  get chunk(): number {
    const beginning = this.prompt.length
    if (this.computed < beginning) return this.chunkBefore(beginning)
    return this.#ends.find((end) => end > this.computed)! - this.computed
  }

  override get parts(): readonly SequencePart[] {
    if (this.computed < this.prompt.length) return super.parts
    const end = this.computed + this.chunk
    const { slot } = this
    return this.#branches
      .filter(({ from }) => from >= this.computed && from < end)
      .map((branch) => {
        const rows = [...this.rows.subarray(0, this.prompt.length), ...this.#rowsOf(branch)]
        return { ids: branch.ids, known: rows.length, rows, slot, rowLength: rows.length }
      })
  }

  /** The targets after tokens of the next step: their ids, and the places of those tokens in the step. */
  get targets(): { readonly ids: readonly number[]; readonly rows: readonly number[] } {
    const targets = this.#next.map((index) => this.#targets[index]!)
    return { ids: targets.map(({ id }) => id), rows: targets.map(({ after }) => after - this.computed) }
  }

  /** Counts the chunk as computed, with the log-probabilities of its targets. */
  accept(logProbs: ArrayLike<number>, pool: PagePool): void {
    for (const [i, index] of this.#next.entries()) this.#values[index] = logProbs[i]!
    this.advance(pool)
    if (this.computed < this.length) return
    const sums: number[] = []
    for (const [i, { of }] of this.#targets.entries()) sums[of] = (sums[of] ?? 0) + this.#values[i]!
    this.results.finish(sums)
  }

  protected get cacheable(): number {
    return this.prompt.length
  }

  /** Indices of the targets after tokens of the next step. */
  get #next(): readonly number[] {
    const end = this.computed + this.chunk
    return [...this.#targets.keys()].filter((index) => {
      const { after } = this.#targets[index]!
      return after >= this.computed && after < end
    })
  }

  /** Adds a branch. */
  #grow(ids: readonly number[], parent: Branch | null): Branch {
    const branch = { ids, parent, from: this.#length }
    if (ids.length === 0) return branch
    const begun = this.#length - (this.#ends.at(-1) ?? this.prompt.length)
    if (begun > 0 && begun + ids.length > TOGETHER) this.#endStep()
    this.#branches.push(branch)
    this.#length += ids.length
    return branch
  }

  #endStep(): void {
    if (this.#length > (this.#ends.at(-1) ?? this.prompt.length)) this.#ends.push(this.#length)
  }

  /** Returns the rows of a branch's tokens, and of those that it follows. */
  #rowsOf({ ids, parent, from }: Branch): number[] {
    return [...(parent ? this.#rowsOf(parent) : []), ...this.rows.subarray(from, from + ids.length)]
  }
}
