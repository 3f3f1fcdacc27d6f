import type { z } from 'zod'

/**
 * What is wrong with a value by a schema: the entry and, in words, what was expected there and what came.
 * @param whole names the value itself
 */
export function schemaProblem({ issues }: z.ZodError, whole: string): string {
  const { path, message } = issues[0]!
  const entry = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  const problem = message
    .replace(/^Invalid (input|discriminator value)[:.] |^Too (small|big): /, '')
    .replace('expected record', 'expected object')
    .replace('received undefined', 'received nothing')
  return `${entry.replace(/^\./, '') || whole}: ${problem}`
}
