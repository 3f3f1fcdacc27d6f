import { type Example, isPredicted } from './example.js'
import type { DataSummary } from './summary.js'
import type { Tokenizer } from './tokenizer/tokenizer.js'

/** Counts the special tokens that are targets. */
export class SpecialTargets {
  readonly #counts = new Map<number, number>()

  constructor(readonly tokenizer: Tokenizer | null) {}

  add({ documents }: Example): void {
    if (!this.tokenizer) return
    const { specialIds } = this.tokenizer
    for (const { ids, mask } of documents) {
      for (let i = 1; i < ids.length; i++) {
        const id = ids[i]!
        if (isPredicted(mask, i) && specialIds.has(id)) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
      }
    }
  }

  /** Returns the counts, in the order of the ids. */
  counts(): DataSummary['trainedSpecialTokens'] {
    return [...this.#counts]
      .sort(([a], [b]) => a - b)
      .map(([id, count]) => ({ id, token: this.tokenizer?.tokenOf(id) ?? '', count }))
  }
}
