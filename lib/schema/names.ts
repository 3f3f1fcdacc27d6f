/** Names of options in flags, the API and files, and suggestions for misspelled ones. */

/** Source of options, which determines the spelling of their names in messages. */
export type OptionSource = 'flags' | 'api' | { file: string }

/** `learningRate` → `learning-rate`, `topNSigma` → `top-n-sigma`. */
export function kebabCase(name: string): string {
  return name.replace(/(?<=[a-zA-Z])[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** `learning-rate` → `learningRate`. */
export function camelCase(name: string): string {
  return name.replace(/-+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** `learningRate` → `--learning-rate`. */
export const flagOf = (key: string): string => `--${kebabCase(key)}`

/** `--learning-rate` on the command line, `learningRate` elsewhere. */
export function optionName(key: string, source: OptionSource): string {
  return source === 'flags' ? flagOf(key) : key
}

/** Returns the option's name and, for a file's options, the file. */
export function optionPlace(key: string, source: OptionSource): string {
  return typeof source === 'object' ? `${key} in ${source.file}` : optionName(key, source)
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
