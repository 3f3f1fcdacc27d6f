/** The layout of help: names in a narrow column, with their descriptions beside them, or below a long name. */
import type { Help } from 'commander'

/** Width of the column of names; a longer name has a line of its own. */
const NAMES = 24
const INDENT = 2
const GAP = 2
/** Minimum width of text, however narrow the terminal. */
const NARROWEST = 20

type Layout = Pick<Help, 'padWidth' | 'formatItem'> & { minWidthToWrap: number }

export const helpLayout: Layout = {
  minWidthToWrap: NARROWEST,

  padWidth: (command, help) =>
    Math.min(
      NAMES,
      Math.max(
        help.longestOptionTermLength(command, help),
        help.longestSubcommandTermLength(command, help),
        help.longestArgumentTermLength(command, help),
      ),
    ),

  formatItem(term, termWidth, description, help) {
    const before = INDENT + termWidth + GAP
    const width = Math.max(NARROWEST, (help.helpWidth ?? 80) - before)
    const lines = help.boxWrap(description, width).split('\n')
    const name = ' '.repeat(INDENT) + term
    const below = lines.map((line) => ' '.repeat(before) + line)
    if (term.length > termWidth) return [name, ...below].join('\n')
    return [name.padEnd(before) + (lines[0] ?? ''), ...below.slice(1)].join('\n')
  },
}

/** Wraps a long command line with backslashes, as a shell accepts it. */
export function wrappedExample(example: string, columns: number): string {
  // An option and its value stay together.
  const parts = example.split(/ (?=--)/)
  const lines: string[] = []
  for (const part of parts) {
    const line = lines.at(-1)
    const room = columns - INDENT - ' \\'.length
    if (line !== undefined && line.length + 1 + part.length <= room) lines[lines.length - 1] = `${line} ${part}`
    else lines.push(line === undefined ? part : `  ${part}`)
  }
  return lines.map((line) => ' '.repeat(INDENT) + line).join(' \\\n')
}
