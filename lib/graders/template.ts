/** Templates of graders: texts with variables of a row and of an answer, such as `{{ item.answer }}`. */
import { UsageError } from '../common/errors.js'
import { printable, shortened } from '../common/printable.js'

/** An answer, as graders see it. */
export interface AnswerSample {
  /** The model's text, without its reasoning and calls. */
  readonly output_text: string
  /** The value that the text is the JSON of; undefined if it is no JSON. */
  readonly output_json: unknown
  /** Calls of functions, as in a chat completion. */
  readonly output_tools: readonly unknown[]
  /** The choices of a chat completion. */
  readonly choices: readonly unknown[]
}

/** A row and an answer to it. */
export interface GradedAnswer {
  /** All columns of the row. */
  readonly item: Readonly<Record<string, unknown>>
  /** The answer. */
  readonly sample: AnswerSample
}

const SAMPLE_VARIABLES: readonly string[] = ['output_text', 'output_json', 'output_tools', 'choices']

/** A place in a row or an answer. */
export interface Variable {
  /** As the template has it. */
  readonly text: string
  /** Begins with `item` or `sample`. */
  readonly path: readonly (string | number)[]
}

/** A template in parts. */
export type TemplateParts = readonly (string | Variable)[]

/** Maximum number of characters of a variable in messages. */
const MOST_SHOWN = 100
/** Maximum number of names in a path. */
const MOST_STEPS = 32
/** Maximum number of characters of a text that a template stands for. */
const MOST_FILLED = 2 ** 20
const PLACEHOLDER = /\{\{([^{}]*)\}\}/g
const STEP = /\.([A-Za-z_$][\w$-]*)|\[(\d{1,9})\]|\["([^"\\]*)"\]|\['([^'\\]*)'\]/gy

/** Why a template has no value: the answer is no JSON, a variable is not there, or the text is too long. */
export class TemplateFailure extends Error {
  constructor(
    readonly kind: 'sample_parse_error' | 'invalid_variable_error' | 'other_error',
    message: string,
  ) {
    super(message)
  }
}

/** Parses a template. @throws UsageError `bad-value` for what is no variable of a row or an answer */
export function parseTemplate(text: string): TemplateParts {
  const parts: (string | Variable)[] = []
  let from = 0
  for (const { 0: whole, 1: inside, index } of text.matchAll(PLACEHOLDER)) {
    parts.push(text.slice(from, index), variableOf(inside!.trim(), whole))
    from = index + whole.length
  }
  return [...parts, text.slice(from)].filter((part) => part !== '')
}

function variableOf(inside: string, whole: string): Variable {
  const text = shortened(printable(whole).replace(/\s+/g, ' '), MOST_SHOWN)
  const [space = ''] = /^\w*/.exec(inside)!
  const path: (string | number)[] = [space]
  let end = space.length
  STEP.lastIndex = end
  for (let step = STEP.exec(inside); step && path.length <= MOST_STEPS; step = STEP.exec(inside)) {
    path.push(step[2] === undefined ? (step[1] ?? step[3] ?? step[4])! : Number(step[2]))
    end = STEP.lastIndex
  }
  const isKnown = space === 'item' || (space === 'sample' && SAMPLE_VARIABLES.includes(String(path[1])))
  if (isKnown && path.length > 1 && end === inside.length) return { text, path }
  const known = ['item.NAME', ...SAMPLE_VARIABLES.map((name) => `sample.${name}`)].join(', ')
  throw new UsageError('bad-value', `${text} is no variable: expected ${known}, and what is in them (.NAME, [0])`)
}

/** Returns the variables of rows in a template. */
export const itemVariables = (parts: TemplateParts): Variable[] =>
  parts.filter((part): part is Variable => typeof part !== 'string' && part.path[0] === 'item')

/** Returns the text that a template stands for. @throws TemplateFailure */
export function fillTemplate(parts: TemplateParts, graded: GradedAnswer): string {
  let text = ''
  for (const part of parts) {
    text += typeof part === 'string' ? part : textOf(variableIn(part, graded))
    if (text.length > MOST_FILLED) {
      throw new TemplateFailure('other_error', `a template has more than ${MOST_FILLED} characters with its values`)
    }
  }
  return text
}

/** Returns the value of a variable. @throws TemplateFailure */
export function variableIn({ text, path }: Variable, graded: GradedAnswer): unknown {
  let value: unknown = graded
  for (const [i, name] of path.entries()) {
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    value = isThere ? (value as Readonly<Record<string | number, unknown>>)[name] : undefined
    if (value !== undefined) continue
    if (i === 1 && name === 'output_json') throw new TemplateFailure('sample_parse_error', 'the answer is not JSON')
    throw new TemplateFailure('invalid_variable_error', `there is no ${text}`)
  }
  return value
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
