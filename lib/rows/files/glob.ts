/**
 * Tells whether a path matches a pattern: `*` and `?` stay within a folder, `**` does not, `[…]` matches one of its characters.
 * The time is proportional to the pattern's length times the path's, whatever they contain.
 */
export function matchesGlob(path: string, glob: string): boolean {
  const parts = glob.match(/\*\*\/|\*\*|\*|\?|\[[^\]/]+\]|[^*?[]+|\[/g) ?? []
  /** For each place of the path, whether the pattern read so far can match up to it. */
  let ends = Array.from({ length: path.length + 1 }, (_, at) => at === 0)
  for (const part of parts) {
    if (!ends.includes(true)) return false
    ends = advance(part, path, ends)
  }
  return ends[path.length] ?? false
}

function advance(part: string, path: string, ends: readonly boolean[]): boolean[] {
  const next = ends.map(() => false)
  if (part === '**' || part === '**/' || part === '*') {
    for (let at = 0, reached = false; at <= path.length; at++) {
      if (part === '*' && path[at - 1] === '/') reached = false
      reached ||= ends[at]!
      next[at] = part === '**/' ? ends[at]! || (reached && path[at - 1] === '/') : reached
    }
    return next
  }
  const isOne = part === '?' || /^\[.+\]$/.test(part)
  for (let at = 0; at < path.length; at++) {
    if (!ends[at]) continue
    if (isOne ? isAmong(path[at]!, part) : path.startsWith(part, at)) next[at + (isOne ? 1 : part.length)] = true
  }
  return next
}

/** Tells whether a character matches `[a-z]`, `[!0-9]` or `?`. */
function isAmong(character: string, part: string): boolean {
  if (character === '/') return false
  if (part === '?') return true
  const [, not, ranges] = /^\[(!|\^)?(.+)\]$/.exec(part)!
  const isIn = [...ranges!.matchAll(/(.)-(.)|(.)/gs)].some(([, from, to, one]) =>
    one === undefined ? from! <= character && character <= to! : one === character,
  )
  return isIn !== (not !== undefined)
}
