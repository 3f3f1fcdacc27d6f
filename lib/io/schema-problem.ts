import type { z } from 'zod'

type Issue = z.core.$ZodIssue

/**
 * Describes how a value violates a schema: the entry, what was expected there and what was received.
 * @param whole names the value itself
 */
export function schemaProblem({ issues }: z.ZodError, whole: string): string {
  const { path } = issues[0]!
  const entry = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  return `${entry.replace(/^\./, '') || whole}: ${wordsOf(issues[0]!)}`
}

function wordsOf(issue: Issue): string {
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') return wordsOfUnion(issue.errors)
  return issue.message
    .replace(/^Invalid input: |^Too (small|big): /, '')
    .replace('expected record', 'expected object')
    .replace('received undefined', 'received nothing')
}

/** Describes the problem of a value that may have several forms: of the form with its type, or else all expected forms. */
function wordsOfUnion(forms: readonly (readonly Issue[])[]): string {
  const problems = forms.map(([first]) => ({ words: wordsOf(first!), isType: first!.path.length === 0 }))
  const types = problems.map(({ words, isType }) => (isType ? /^expected (.+), received (.+)$/.exec(words) : null))
  const near = problems.find((_, form) => types[form] === null)
  if (near) return near.words
  const expected = [...new Set(types.map((type) => type![1]))]
  return `expected ${expected.join(' or ')}, received ${types[0]![2]}`
}
