/** Names of options by source, and suggestions for misspelled ones. */
import { flagOf, optionName } from '../common/option-names.js'

/** Source of options, which determines what it may give. */
export type OptionSource = 'flags' | 'api' | { file: string }

/** Returns an option's name as its source spells it, with the file of a file's options. */
export function optionPlace(key: string, source: OptionSource): string {
  if (typeof source === 'object') return `${key} in ${source.file}`
  return source === 'flags' ? flagOf(key) : optionName(key)
}

/** Returns the edit distance (insertions, deletions, substitutions of a letter) between two words. */
export function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const substitution = previous[column - 1]! + (from[row - 1] === to[column - 1] ? 0 : 1)
      current.push(Math.min(substitution, previous[column]! + 1, current[column - 1]! + 1))
    }
    previous = current
  }
  return previous[to.length]!
}

/** Returns the candidate nearest to a misspelled word, or undefined if none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const plain = (value: string) => value.toLowerCase().replace(/[-_]/g, '')
  const { length } = plain(word)
  // Swapping two letters counts as two edits.
  const most = length < 4 ? 1 : Math.max(2, Math.floor(length / 3))
  return candidates
    .filter((candidate) => Math.abs(plain(candidate).length - length) <= most) // a lower bound of the distance
    .map((candidate) => ({ candidate, distance: editDistance(plain(word), plain(candidate)) }))
    .filter(({ distance }) => distance <= most)
    .sort((a, b) => a.distance - b.distance)[0]?.candidate
}
