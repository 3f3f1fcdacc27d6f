import type { ModelView, SequencePart, TokenMemory } from '../models/index.js'
import { PAGE, type PagePool } from './pages.js'
import type { ScoredPrompt } from './request.js'
import { Sequence } from './sequence.js'

/** Maximum number of tokens of branches in a step; one branch is always computed. */
const TOGETHER = 512

/** A token to score. */
interface Target {
  readonly id: number
  /** Place of the token that it follows, in the order of computation. */
  readonly after: number
  /** Index of its continuation among the continuations of all prompts. */
  readonly continuation: number
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

  private constructor(view: ModelView, memory: TokenMemory, beginning: readonly number[]) {
    super(view, memory, beginning)
    this.#length = beginning.length
  }

  /** Makes a sequence of prompts that have their first `common` tokens in common. */
  static ofPrompts(
    view: ModelView,
    memory: TokenMemory,
    prompts: readonly ScoredPrompt[],
    common: number,
  ): ScoredSequence {
    const sequence = new ScoredSequence(view, memory, prompts[0]!.ids.slice(0, common))
    const rests = prompts.map(({ ids }) => (ids.length > common ? sequence.#addBranch(ids.slice(common), null) : null))
    sequence.#endStep()
    let continuation = 0
    for (const [i, { continuations }] of prompts.entries()) {
      const parent = rests[i]!
      for (const ids of continuations) {
        const last = parent ? parent.from + parent.ids.length - 1 : common - 1
        sequence.#targets.push({ id: ids[0]!, after: last, continuation })
        // The last token is not computed.
        const { from } = sequence.#addBranch(ids.slice(0, -1), parent)
        for (const [place, id] of ids.slice(1).entries())
          sequence.#targets.push({ id, after: from + place, continuation })
        continuation++
      }
    }
    sequence.#endStep()
    return sequence
  }

  /** Makes a sequence of one continuation, whose tokens are computed like the prompt's. */
  static ofOne(
    view: ModelView,
    memory: TokenMemory,
    prompt: readonly number[],
    continuation: readonly number[],
  ): ScoredSequence {
    const sequence = new ScoredSequence(view, memory, [...prompt, ...continuation.slice(0, -1)])
    for (const [place, id] of continuation.entries())
      sequence.#targets.push({ id, continuation: 0, after: prompt.length - 1 + place })
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
    for (const [i, { continuation }] of this.#targets.entries())
      sums[continuation] = (sums[continuation] ?? 0) + this.#values[i]!
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

  /** Adds a branch; a step ends before it if the branches would be too many tokens. */
  #addBranch(ids: readonly number[], parent: Branch | null): Branch {
    const branch = { ids, parent, from: this.#length }
    if (ids.length === 0) return branch
    const pending = this.#length - (this.#ends.at(-1) ?? this.prompt.length)
    if (pending > 0 && pending + ids.length > TOGETHER) this.#endStep()
    this.#branches.push(branch)
    this.#length += ids.length
    return branch
  }

  #endStep(): void {
    if (this.#length > (this.#ends.at(-1) ?? this.prompt.length)) this.#ends.push(this.#length)
  }

  /** Returns the rows of the tokens of a branch and of its parent. */
  #rowsOf({ ids, parent, from }: Branch): number[] {
    return [...(parent ? this.#rowsOf(parent) : []), ...this.rows.subarray(from, from + ids.length)]
  }
}

/**
 * Groups neighbouring prompts that have at least a page in common, and returns the number of tokens that all of a group have in common. A
 * prompt that shares much less or more than its group begins another, since each prompt computes anew what not all of its group share;
 * groups find each other's pages in the prefix cache.
 */
export function groupPrompts(prompts: readonly ScoredPrompt[]): { prompts: readonly ScoredPrompt[]; common: number }[] {
  const groups: ReturnType<typeof groupPrompts> = []
  for (const prompt of prompts) {
    const last = groups.at(-1)
    const shared = last ? commonBeginning(last.prompts.at(-1)!.ids, prompt.ids) : 0
    const fits = last?.prompts.length === 1 || Math.abs(shared - (last?.common ?? 0)) < PAGE / 4
    if (last && shared >= PAGE && fits)
      groups[groups.length - 1] = { prompts: [...last.prompts, prompt], common: Math.min(last.common, shared) }
    else groups.push({ prompts: [prompt], common: prompt.ids.length })
  }
  return groups
}

/** Returns the number of tokens that two lists have in common at their beginning. */
function commonBeginning(a: readonly number[], b: readonly number[]): number {
  const end = a.findIndex((id, i) => id !== b[i])
  return end < 0 ? a.length : end
}

/** Returns the number of tokens that are computed for a prompt with its longest continuation. */
export const longestOf = ({ ids, continuations }: ScoredPrompt): number =>
  ids.length + Math.max(...continuations.map(({ length }) => length)) - 1
