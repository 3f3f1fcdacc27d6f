/** Code blocks of the project's Markdown and docstrings, with the comment above each. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Pages whose blocks are tested, as relative paths. */
export const pages: readonly string[] = [
  'README.md',
  'AGENTS.md',
  'CONTRIBUTING.md',
  'bench/README.md',
  'skills/mora/SKILL.md',
  ...filesBelow('docs').filter((path) => path.endsWith('.md') && !path.startsWith('docs/api/')),
]

/** Files whose docstrings have examples, as relative paths. */
export const documented: readonly string[] = filesBelow('lib').filter(
  (path) => path.endsWith('.ts') && readFileSync(join(root, path), 'utf8').includes(' * ```ts\n'),
)

/**
 * How a block is tested:
 *
 * - `run`: it runs as it stands. Without a comment.
 * - `fail`: it runs, and ends with an exit code: `<!-- exit code 2 -->`.
 * - `check`: only syntax, options and types are checked: `<!-- not run: why -->`.
 * - `excerpt`: it is a part of a file that is tested: `<!-- from: examples/train.ts -->`.
 */
export type Treatment =
  | { kind: 'run' }
  | { kind: 'fail'; exitCode: number }
  | { kind: 'check'; why: string }
  | { kind: 'excerpt'; file: string }

export interface Block {
  page: string
  /** The number of its first line of code, from 1. */
  line: number
  language: string
  code: string
  treatment: Treatment
}

/** The blocks of a page, or of the docstrings of a file of TypeScript. */
export function blocksOf(page: string): Block[] {
  const all = readFileSync(join(root, page), 'utf8').split('\n')
  const lines = page.endsWith('.ts') ? all.map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? '') : all
  const blocks: Block[] = []
  for (let at = 0; at < lines.length; at++) {
    const language = /^```(.*)$/.exec(lines[at]!)?.[1]
    if (language === undefined) continue
    const end = lines.findIndex((line, i) => i > at && line === '```')
    if (end < 0) throw new Error(`${page}:${at + 1}: the block has no end.`)
    const code = lines.slice(at + 1, end).join('\n')
    blocks.push({ page, line: at + 2, language, code, treatment: treatmentOf(commentAbove(lines, at)) })
    at = end
  }
  return blocks
}

/** The comment that ends right above a line, or above an empty one. */
function commentAbove(lines: readonly string[], at: number): string {
  const above = lines[at - 1] === '' ? lines[at - 2] : lines[at - 1]
  return /^<!-- (.*) -->$/.exec(above ?? '')?.[1] ?? ''
}

function treatmentOf(comment: string): Treatment {
  const why = /^not run: (.+)$/.exec(comment)?.[1]
  if (why) return { kind: 'check', why }
  const file = /^from: (.+)$/.exec(comment)?.[1]
  if (file) return { kind: 'excerpt', file }
  const exitCode = /^exit code (\d+)$/.exec(comment)?.[1]
  if (exitCode) return { kind: 'fail', exitCode: Number(exitCode) }
  return { kind: 'run' }
}

/** Commands of a block of shell: comments and empty lines left out, continued lines joined. */
export function commandsOf(code: string): string[] {
  return code
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.replace(/(^|\s+)#\s.*$/, '').trim())
    .filter((line) => line !== '')
}

/** The words of a simple command; null if it needs a shell. */
export function wordsOf(command: string): string[] | null {
  const words: string[] = []
  let rest = command
  while (rest !== '') {
    const match = /^(?:"([^"$`\\]*)"|'([^']*)'|([^\s"'|<>&;$`()*\\]+))(?=\s|$)\s*/.exec(rest)
    if (!match) return null
    words.push(match[1] ?? match[2] ?? match[3]!)
    rest = rest.slice(match[0].length)
  }
  return words
}

/** Arguments of `mora` in a simple command; null for other commands. */
export function moraArguments(command: string): string[] | null {
  const words = wordsOf(command)
  if (words?.[0] === 'npx') words.shift()
  return words?.[0] === 'mora' ? words.slice(1) : null
}

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true })
    .map((name) => join(folder, String(name)))
    .sort()
}
