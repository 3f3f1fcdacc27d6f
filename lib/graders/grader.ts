/** Graders in OpenAI's form: what a client may write, checked. */
import { z } from 'zod'
import { anyText, isObject, numberBetween, wholeBetween, wholeFrom } from '../common/arguments.js'
import { MoraError } from '../common/errors.js'
import { onlyFields } from '../schema/only-fields.js'
import { isFormulaName, parseFormula } from './formula.js'
import { SIMILARITIES, type SimilarityName } from './similarity.js'
import { parseTemplate } from './template.js'

/** Maximum number of characters of a template, messages of a question to a model, and graders in one. */
const MOST_CHARACTERS = 2 ** 16
const MOST_MESSAGES = 64
const MOST_GRADERS = 32

/** The name of the whole score of several graders. */
export const WHOLE = 'calculate_output'

const nameField = z
  .string({ error: 'a name' })
  .min(1, { error: 'a name' })
  .max(128, { error: 'a name of at most 128 characters' })

const templateField = z.string({ error: 'a text' }).superRefine((text, context) => {
  if (text.length > MOST_CHARACTERS) {
    context.addIssue({ code: 'custom', message: `a text of at most ${MOST_CHARACTERS} characters` })
    return
  }
  try {
    parseTemplate(text)
  } catch (error) {
    if (!(error instanceof MoraError)) throw error
    context.addIssue({ code: 'custom', message: `a text with variables of rows and answers (${error.message})` })
  }
})

/** Thresholds are of OpenAI's evaluations, and change no reward. */
const shared = { pass_threshold: z.number({ error: 'a number' }).optional() }

const StringCheck = onlyFields({
  ...shared,
  type: z.literal('string_check'),
  name: nameField.default('string_check'),
  input: templateField,
  reference: templateField,
  operation: z.enum(['eq', 'ne', 'like', 'ilike'], { error: 'one of eq, ne, like, ilike' }),
})

const METRICS = Object.keys(SIMILARITIES) as [SimilarityName, ...SimilarityName[]]

const metricField = z.unknown().transform((given, context) => {
  const metric = METRICS.find((name) => name === given)
  if (metric) return metric
  const absent: Readonly<Record<string, string>> = { cosine: 'a model of embeddings', meteor: 'WordNet' }
  const reason = typeof given === 'string' && absent[given]
  const message = `one of ${METRICS.join(', ')}${reason ? ` (${given} needs ${reason}, which is not here)` : ''}`
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

const TextSimilarity = onlyFields({
  ...shared,
  type: z.literal('text_similarity'),
  name: nameField.default('text_similarity'),
  input: templateField,
  reference: templateField,
  evaluation_metric: metricField,
})

const contentField = z.unknown().transform((given, context) => {
  const parts = Array.isArray(given) ? given : [given]
  const texts = parts.map((part: unknown) => {
    if (!isObject(part)) return part
    return part.type === 'input_text' || part.type === 'output_text' || part.type === 'text' ? part.text : undefined
  })
  const text = texts.every((one) => typeof one === 'string') ? texts.join('') : undefined
  const checked = templateField.safeParse(text)
  if (checked.success) return checked.data
  const message = text === undefined ? 'a text, or input_text or output_text parts' : checked.error.issues[0]!.message
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

const rangeError = 'a list of the least and the greatest score'

const ScoreModel = onlyFields({
  ...shared,
  type: z.literal('score_model'),
  name: nameField.default('score_model'),
  model: z.string({ error: 'the name of a served model' }).min(1, { error: 'the name of a served model' }),
  // A body may hold millions, and zod makes an issue for each.
  input: z
    .custom<unknown[]>((list) => Array.isArray(list) && list.length > 0 && list.length <= MOST_MESSAGES, {
      error: `a list of 1 to ${MOST_MESSAGES} messages`,
      abort: true,
    })
    .pipe(
      z.array(
        onlyFields({
          role: z.enum(['system', 'developer', 'user', 'assistant'], {
            error: 'one of system, developer, user, assistant',
          }),
          content: contentField,
          type: z.literal('message', { error: 'message' }).optional(),
        }),
      ),
    ),
  range: z
    .tuple([z.number({ error: 'a number' }), z.number({ error: 'a number' })], { error: rangeError })
    .refine(([least, most]) => least < most, { error: rangeError })
    .optional(),
  sampling_params: onlyFields({
    seed: wholeFrom(0).nullish(),
    top_p: numberBetween(0, 1).nullish(),
    temperature: numberBetween(0, 2).nullish(),
    max_completions_tokens: wholeBetween(1, 2 ** 20).nullish(),
    reasoning_effort: anyText.nullish(),
  }).optional(),
})

/** A function of the program that serves, by its name. */
const Program = onlyFields({ ...shared, type: z.literal('program'), name: nameField })

const SINGLE = {
  string_check: StringCheck,
  text_similarity: TextSimilarity,
  score_model: ScoreModel,
  program: Program,
} as const

/** Why graders of OpenAI's other types are refused. */
const REFUSED: Readonly<Record<string, string>> = {
  python: 'python runs code of clients: a program that serves has graders of its own, { type: program }',
  endpoint: 'endpoint asks other servers: a program that serves has graders of its own, { type: program }',
  label_model: 'label_model gives labels: ask score_model for a number',
  multi: 'a multi is in no other',
}

export type StringCheckGrader = z.output<typeof StringCheck>
export type TextSimilarityGrader = z.output<typeof TextSimilarity>
export type ScoreModelGrader = z.output<typeof ScoreModel>
export type SingleGrader = StringCheckGrader | TextSimilarityGrader | ScoreModelGrader | z.output<typeof Program>

/** Several graders, whose scores a formula joins. */
export interface MultiGrader {
  readonly type: 'multi'
  readonly name: string
  /** By their names in the formula. */
  readonly graders: Readonly<Record<string, SingleGrader>>
  readonly calculate_output: string
}

export type Grader = SingleGrader | MultiGrader

/** Adds the first issue of a value's schema to that of the value around it. */
function within<Schema extends z.ZodType>(
  schema: Schema,
  given: unknown,
  path: PropertyKey[],
  context: z.RefinementCtx,
): z.output<Schema> | undefined {
  const result = schema.safeParse(given)
  if (result.success) return result.data
  const { message, path: inner } = result.error.issues[0]!
  context.addIssue({ code: 'custom', message, path: [...path, ...inner] })
  return undefined
}

function graderOfType(
  types: Readonly<Record<string, z.ZodType>>,
  given: unknown,
  path: PropertyKey[],
  context: z.RefinementCtx,
): unknown {
  if (!isObject(given)) {
    context.addIssue({ code: 'custom', message: 'a grader, an object with type and name', path })
    return undefined
  }
  const { type } = given
  const schema = typeof type === 'string' && Object.hasOwn(types, type) ? types[type]! : undefined
  if (schema) return within(schema, given, path, context)
  const reason = typeof type === 'string' && Object.hasOwn(REFUSED, type) ? ` (${REFUSED[type]})` : ''
  context.addIssue({
    code: 'custom',
    message: `one of ${Object.keys(types).join(', ')}${reason}`,
    path: [...path, 'type'],
  })
  return undefined
}

const Multi = z.unknown().transform((given, context): unknown => {
  const whole = within(MultiFields, given, [], context)
  if (!whole) return z.NEVER
  const { graders: several, calculate_output: formula } = whole
  const isOne = typeof several.type === 'string'
  const entries = isOne ? [[String(several.name), several] as const] : Object.entries(several)
  if (entries.length === 0 || entries.length > MOST_GRADERS) {
    context.addIssue({ code: 'custom', message: `1 to ${MOST_GRADERS} graders by name`, path: ['graders'] })
    return z.NEVER
  }
  const graders: Record<string, unknown> = {}
  for (const [name, one] of entries) {
    const path = isOne ? ['graders'] : ['graders', name]
    if (!isFormulaName(name) || name === WHOLE) {
      const message = `a name of letters, digits and underscores that is no function and not ${WHOLE}`
      context.addIssue({ code: 'custom', message, path: isOne ? [...path, 'name'] : path })
      return z.NEVER
    }
    graders[name] = graderOfType(SINGLE, one, path, context)
    if (graders[name] === undefined) return z.NEVER
  }
  try {
    parseFormula(formula, Object.keys(graders))
  } catch (error) {
    if (!(error instanceof MoraError)) throw error
    context.addIssue({ code: 'custom', message: `a formula over the graders (${error.message})`, path: [WHOLE] })
  }
  return { ...whole, graders }
})

const MultiFields = onlyFields({
  ...shared,
  type: z.literal('multi'),
  name: nameField.default('multi'),
  graders: z.record(z.string(), z.unknown(), { error: 'graders by name' }),
  calculate_output: anyText,
})

const TYPES: Readonly<Record<string, z.ZodType>> = { ...SINGLE, multi: Multi }

/** A grader of a client; errors say what is expected of which field. */
export const GraderField = z.unknown().transform((given, context): Grader => {
  const grader = graderOfType(TYPES, given, [], context)
  return grader === undefined ? z.NEVER : (grader as Grader)
})

/** Returns the graders that compute scores, by their names. */
export const singleGraders = (grader: Grader): Readonly<Record<string, SingleGrader>> =>
  grader.type === 'multi' ? grader.graders : { [grader.name]: grader }
