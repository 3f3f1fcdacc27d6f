/**
 * Whether a path fits a pattern: `*` and `?` stay within a folder, `**` does not, `[…]` is one of a few characters. Takes
 * time in proportion to the pattern times the path, whatever they are.
 */
export function matchesGlob(path: string, glob: string): boolean {
  const parts = glob.match(/\*\*\/|\*\*|\*|\?|\[[^\]/]+\]|[^*?[]+|\[/g) ?? []
  /** Whether what was read of the pattern so far can end at each place of the path. */
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

/** `[a-z]`, `[!0-9]`; `?` is any. */
function isAmong(character: string, part: string): boolean {
  if (character === '/') return false
  if (part === '?') return true
  const [, not, ranges] = /^\[(!|\^)?(.+)\]$/.exec(part)!
  const isIn = [...ranges!.matchAll(/(.)-(.)|(.)/gs)].some(([, from, to, one]) =>
    one === undefined ? from! <= character && character <= to! : one === character,
  )
  return isIn !== (not !== undefined)
}
