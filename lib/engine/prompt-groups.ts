/** Prompts to score that share their beginning. */
import { PAGE } from './pages.js'
import type { ScoredPrompt } from './request.js'

/** Prompts one after the other, and how many first tokens they have in common. */
export interface PromptGroup {
  readonly prompts: readonly ScoredPrompt[]
  readonly common: number
}

export const alone = (prompt: ScoredPrompt): PromptGroup => ({ prompts: [prompt], common: prompt.ids.length })

/**
 * Groups prompts whose neighbours have at least a page in common. A neighbour that shares much less or more begins a group, since each
 * prompt computes anew what not all of its group share; groups find each other's pages again.
 */
export function groupPrompts(prompts: readonly ScoredPrompt[]): PromptGroup[] {
  const groups: PromptGroup[] = []
  for (const prompt of prompts) {
    const last = groups.at(-1)
    const shared = last ? commonBeginning(last.prompts.at(-1)!.ids, prompt.ids) : 0
    const fits = last?.prompts.length === 1 || Math.abs(shared - (last?.common ?? 0)) < PAGE / 4
    if (last && shared >= PAGE && fits)
      groups[groups.length - 1] = { prompts: [...last.prompts, prompt], common: Math.min(last.common, shared) }
    else groups.push(alone(prompt))
  }
  return groups
}

/** Returns the number of tokens that are computed for a prompt with its longest continuation. */
export const longestOf = ({ ids, continuations }: ScoredPrompt): number =>
  ids.length + Math.max(...continuations.map(({ length }) => length)) - 1

/** Returns how many first tokens two lists have in common. */
function commonBeginning(a: readonly number[], b: readonly number[]): number {
  const end = a.findIndex((id, i) => id !== b[i])
  return end < 0 ? a.length : end
}
