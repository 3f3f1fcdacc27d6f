/** Reads foreign values by schemas, with problems in the words of JSON. */
import { z } from 'zod'

type Problem = z.core.$ZodRawIssue

/**
 * Returns a value as a schema has it.
 * @param whole names the value itself
 * @param refuse makes the error of a problem: the entry, the expected value and the received one
 */
export function readAs<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  whole: string,
  refuse: (problem: string) => Error,
): z.output<Schema> {
  const { success, data, error } = schema.safeParse(value, { error: wordsOf })
  if (success) return data
  const [{ path, message }] = error.issues as [z.core.$ZodIssue]
  const entry = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  throw refuse(`${entry.replace(/^\./, '') || whole}: ${message}`)
}

/** Returns undefined for problems that zod words well. */
function wordsOf(problem: Problem): string | undefined {
  switch (problem.code) {
    case 'invalid_type':
      return unlike([typeName(problem.expected)], problem.input)
    case 'invalid_value':
      return `expected ${problem.values.map((value) => JSON.stringify(value)).join(' or ')}`
    case 'too_small':
      return `expected ${problem.origin} ${limited(problem, '>', problem.minimum)}`
    case 'too_big':
      return `expected ${problem.origin} ${limited(problem, '<', problem.maximum)}`
    case 'invalid_union':
      return wordsOfUnion(problem.errors, problem.input)
    default:
      return undefined
  }
}

/** Describes the problem of a value that may have several forms: of the form with its type, or else all expected forms. */
function wordsOfUnion(forms: readonly (readonly z.core.$ZodIssue[])[], value: unknown): string | undefined {
  const types: string[] = []
  for (const [first] of forms) {
    if (first?.code !== 'invalid_type' || first.path.length > 0) return first?.message
    types.push(typeName(first.expected))
  }
  return unlike([...new Set(types)], value)
}

const unlike = (types: readonly string[], value: unknown): string =>
  `expected ${types.join(' or ')}, received ${receivedType(value)}`

const typeName = (type: string): string => (type === 'record' ? 'object' : type)

function receivedType(value: unknown): string {
  if (value === undefined) return 'nothing'
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : z.core.util.parsedType(value)
}

const UNITS: Readonly<Record<string, string>> = { string: 'characters', array: 'items', set: 'items', map: 'entries' }

function limited({ origin, inclusive, exact }: Problem, sign: string, limit: number | bigint): string {
  const unit = UNITS[String(origin)]
  const comparison = exact ? 'exactly ' : `${sign}${inclusive ? '=' : ''}`
  return unit ? `to have ${comparison}${limit} ${unit}` : `to be ${comparison}${limit}`
}
