/** Scores of answers by graders. */
import { setImmediate } from 'node:timers/promises'
import { isObject } from '../common/arguments.js'
import { withDeadline } from '../common/cancellation.js'
import { MoraError } from '../common/errors.js'
import { plainCopy } from '../common/plain-copy.js'
import { jsonIn } from '../io/json.js'
import { parseFormula } from './formula.js'
import { type Grader, type ScoreModelGrader, type SingleGrader, singleGraders, WHOLE } from './grader.js'
import { MOST_COMPARED, SIMILARITIES } from './similarity.js'
import {
  fillTemplate,
  type GradedAnswer,
  itemVariables,
  parseTemplate,
  TemplateFailure,
  type TemplateParts,
  type Variable,
} from './template.js'

/** Tokens of a question to a model, by OpenAI's names. */
export interface QuestionUsage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
}

/**
 * Asks a served model.
 * @param body of a chat completion
 * @throws what the model's server answers instead
 */
export type AskModel = (
  body: Readonly<Record<string, unknown>>,
  signal: AbortSignal | undefined,
) => Promise<{ readonly text: string; readonly usage: QuestionUsage }>

/** A grader of the program's own, by a function: returns the score of an answer. */
export type ProgramGrader = (graded: GradedAnswer, signal?: AbortSignal) => number | Promise<number>

/** The server around graders. */
export interface GraderHelp {
  readonly ask: AskModel
  /** The program's graders by name. */
  readonly programs: Readonly<Record<string, ProgramGrader>>
  /** Called with each failure of these. */
  readonly onError: (error: unknown) => void
}

/** Errors that OpenAI's results name; some do not occur here. */
export const GRADER_ERRORS = [
  'formula_parse_error',
  'sample_parse_error',
  'truncated_observation_error',
  'unresponsive_reward_error',
  'invalid_variable_error',
  'other_error',
  'python_grader_server_error',
  'python_grader_runtime_error',
  'model_grader_server_error',
  'model_grader_refusal_error',
  'model_grader_parse_error',
] as const

/** An error of a grader, which counts as the score 0. */
export interface GraderError {
  readonly name: (typeof GRADER_ERRORS)[number]
  readonly message: string
}

/** The score of one grader. */
export interface GraderScore {
  readonly score: number
  /** Why the score is 0. */
  readonly error?: GraderError
  readonly usage?: QuestionUsage
}

/** The reward of an answer, and the scores of which it is made, by the names of graders. */
export interface GradeResult extends GraderScore {
  readonly scores: Readonly<Record<string, GraderScore>>
}

type Scorer = (
  graded: GradedAnswer,
  help: GraderHelp,
  signal: AbortSignal | undefined,
) => GraderScore | Promise<GraderScore>

/** The time of a question's sampling is the answers' own: a judge explains in a few steps. */
const STEP = { type: 'string', maxLength: 256 }
const VERDICT = {
  type: 'object',
  properties: {
    result: { type: 'number' },
    steps: {
      type: 'array',
      items: {
        type: 'object',
        properties: { description: STEP, conclusion: STEP },
        required: ['description', 'conclusion'],
        additionalProperties: false,
      },
      maxItems: 4,
    },
  },
  required: ['result', 'steps'],
  additionalProperties: false,
}
const VERDICT_TOKENS = 1024
/** Seconds that a grader of the program may take. */
const PROGRAM_SECONDS = 120

/** A grader, ready to score answers. */
export class AnswerGrader {
  /** Variables of rows that it reads. */
  readonly variables: readonly Variable[]
  /** Names of the models that it asks. */
  readonly models: readonly string[]
  /** Names of the program's graders that it uses. */
  readonly programs: readonly string[]
  readonly #scorers: readonly (readonly [name: string, scorer: Scorer])[]
  /** Joins the scores; null for one grader alone. */
  readonly #formula: ReturnType<typeof parseFormula> | null

  constructor(readonly grader: Grader) {
    const singles = Object.entries(singleGraders(grader))
    const templates = singles.flatMap(([, single]) => templatesOf(single).map(parseTemplate))
    this.variables = templates.flatMap(itemVariables)
    this.models = singles.flatMap(([, single]) => (single.type === 'score_model' ? [single.model] : []))
    this.programs = singles.flatMap(([, single]) => (single.type === 'program' ? [single.name] : []))
    this.#scorers = singles.map(([name, single]) => [name, scorerOf(single)])
    this.#formula = grader.type === 'multi' ? parseFormula(grader.calculate_output, Object.keys(grader.graders)) : null
  }

  /** Returns the reward of an answer. Errors of a grader make its score 0. @throws the signal's reason */
  async grade(graded: GradedAnswer, help: GraderHelp, signal?: AbortSignal): Promise<GradeResult> {
    const scores: Record<string, GraderScore> = {}
    for (const [name, scorer] of this.#scorers) scores[name] = await scored(scorer, graded, help, signal)
    if (!this.#formula) return { ...scores[this.grader.name]!, scores }
    const values = Object.fromEntries(Object.entries(scores).map(([name, { score }]) => [name, score]))
    const reward = this.#formula(values)
    if (Number.isFinite(reward)) return { score: reward, scores }
    const message = `${WHOLE} is ${reward} of ${JSON.stringify(values)}`
    return { score: 0, error: { name: 'formula_parse_error', message }, scores }
  }
}

function templatesOf(grader: SingleGrader): string[] {
  if (grader.type === 'program') return []
  if (grader.type === 'score_model') return grader.input.map(({ content }) => content)
  return [grader.input, grader.reference]
}

async function scored(
  scorer: Scorer,
  graded: GradedAnswer,
  help: GraderHelp,
  signal: AbortSignal | undefined,
): Promise<GraderScore> {
  // Others' requests come between comparisons of long texts.
  await setImmediate()
  try {
    return await scorer(graded, help, signal)
  } catch (error) {
    if (error instanceof TemplateFailure) return { score: 0, error: { name: error.kind, message: error.message } }
    throw error
  }
}

function scorerOf(grader: SingleGrader): Scorer {
  if (grader.type === 'score_model') return modelScorer(grader)
  if (grader.type === 'program') return programScorer(grader.name)
  const [input, reference] = [parseTemplate(grader.input), parseTemplate(grader.reference)]
  const compare = grader.type === 'string_check' ? CHECKS[grader.operation] : similarityOf(grader.evaluation_metric)
  return (graded) => compare(fillTemplate(input, graded), fillTemplate(reference, graded))
}

type Comparison = (text: string, reference: string) => GraderScore

const check =
  (holds: (text: string, reference: string) => boolean): Comparison =>
  (text, reference) => ({ score: Number(holds(text, reference)) })

const CHECKS: Readonly<Record<'eq' | 'ne' | 'like' | 'ilike', Comparison>> = {
  eq: check((text, reference) => text === reference),
  ne: check((text, reference) => text !== reference),
  like: check((text, reference) => text.includes(reference)),
  ilike: check((text, reference) => text.toLowerCase().includes(reference.toLowerCase())),
}

const similarityOf =
  (name: keyof typeof SIMILARITIES): Comparison =>
  (text, reference) => {
    if (Math.max(text.length, reference.length) <= MOST_COMPARED) return { score: SIMILARITIES[name](text, reference) }
    const message = `${name} compares texts of at most ${MOST_COMPARED} characters`
    return { score: 0, error: { name: 'other_error', message } }
  }

/** Clients see nothing of what fails in the program. */
function programScorer(name: string): Scorer {
  const failed = (why: string): GraderScore => ({ score: 0, error: { name: 'other_error', message: `${name} ${why}` } })
  return async (graded, { programs, onError }, signal) => {
    const grade = Object.hasOwn(programs, name) ? programs[name] : undefined
    if (!grade) return failed('is no grader of this server')
    try {
      const limit = { seconds: PROGRAM_SECONDS, signal }
      const score: unknown = await withDeadline(async () => grade(plainCopy(graded), signal), limit)
      return typeof score === 'number' && Number.isFinite(score) ? { score } : failed('returned no finite number')
    } catch (error) {
      signal?.throwIfAborted()
      onError(error)
      return failed("failed; the server's log says why")
    }
  }
}

function modelScorer(grader: ScoreModelGrader): Scorer {
  const messages = grader.input.map(({ role, content }): [string, TemplateParts] => [role, parseTemplate(content)])
  const [least, most] = grader.range ?? [0, 1]
  const { max_completions_tokens: limit, reasoning_effort: effort, ...given } = grader.sampling_params ?? {}
  const sampling = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined && value !== null),
  )
  const body = {
    model: grader.model,
    temperature: 0,
    seed: 0,
    ...sampling,
    max_completion_tokens: limit ?? VERDICT_TOKENS,
    ...(effort && { reasoning_effort: effort }),
    response_format: { type: 'json_schema', json_schema: { name: 'verdict', schema: VERDICT } },
  }
  return async (graded, { ask }, signal) => {
    const asked = messages.map(([role, content]) => ({ role, content: fillTemplate(content, graded) }))
    let answer: Awaited<ReturnType<AskModel>>
    try {
      answer = await ask({ ...body, messages: asked }, signal)
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof MoraError)) throw error
      return { score: 0, error: { name: 'model_grader_server_error', message: error.message } }
    }
    const { text, usage } = answer
    const verdict = jsonIn(text)
    const result = isObject(verdict) ? verdict.result : undefined
    if (typeof result === 'number' && Number.isFinite(result)) {
      return { score: Math.min(most, Math.max(least, result)), usage }
    }
    const message = `${grader.model} gave no JSON with a result within ${body.max_completion_tokens} tokens`
    return { score: 0, error: { name: 'model_grader_parse_error', message }, usage }
  }
}
