/** The method `reinforcement`: answers to prompts, reinforced by a grader's scores (GRPO). */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { InputError, quoted, UsageError } from '../common/errors.js'
import { AnswerGrader, type GradeResult, type GraderError } from '../graders/grade.js'
import { type Grader, GraderField, WHOLE } from '../graders/grader.js'
import { sampleOf } from '../graders/sample.js'
import type { AnswerSample } from '../graders/template.js'
import { isJsonObject } from '../io/json.js'
import { type GrpoOptions, grpo } from '../objectives/grpo.js'
import type { JudgedAnswer, Reward } from '../objectives/rewards.js'
import { resolveTemplate } from '../text/template.js'
import { knownAnswerForm } from '../text/tool-calls/find-form.js'
import { parseAnswer } from '../text/tool-calls/reader.js'
import { automaticPrompts } from './automatic.js'
import { checkPrompts, QUESTION_COLUMNS } from './check-rows.js'
import { positiveTo, wholeTo } from './hyperparameters.js'
import type { AskedMethod, JobMethod, MethodContext } from './method.js'
import type { Job } from './records.js'
import { type ResponseFormat, ResponseFormatField, schemaOfFormat } from './response-format.js'

/** Answers to each prompt at the compute multiplier 1. */
const ANSWERS = 8
/** Seconds and concurrent questions of a reward: a model may be asked, which answers others too. */
const REWARD_SECONDS = 600
const QUESTIONS = 4

const noEffort = 'default (for templates that know efforts, mora: { template_options: { reasoning_effort } })'

export const reinforcement: JobMethod = {
  // A conversation that ends with a question may be read as an example too, of its earlier answers.
  kinds: ['prompts', 'examples'],
  rows: "messages, the last of which is a user's",
  rateFactor: 0.5,
  batchSize: automaticPrompts,
  hyperparameters: {
    compute_multiplier: { ...positiveTo(10, 0.00001), automatic: () => 1 },
    eval_interval: {
      ...wholeTo(1_000_000),
      automatic: ({ batch_size }, rows) => Math.ceil(rows / batch_size),
      isOfValidation: true,
    },
    eval_samples: { ...wholeTo(64), automatic: () => 1, isOfValidation: true },
    reasoning_effort: { expects: noEffort, field: z.literal('default', { error: noEffort }) },
  },
  fields: {
    grader: GraderField,
    response_format: ResponseFormatField.nullish(),
  },
  allowed: [
    'beta',
    'lossType',
    'maxNewTokens',
    'temperature',
    'topK',
    'topP',
    'clipEpsilon',
    'epsilonHigh',
    'delta',
    'importanceSamplingLevel',
    'scaleRewards',
    'maskTruncatedCompletions',
    'entropyCoef',
    'stepsPerGeneration',
    'numIterations',
  ],
  async check({ fields, mora, continues, files, requireModel, requireSchema, programs }) {
    if (continues !== null && Number(mora.beta ?? 0) > 0) {
      const option = 'method.reinforcement.mora.beta'
      const problem = `${option} keeps answers near the model without an adapter, and ${continues} has one: leave it out.`
      throw new UsageError('bad-value', problem, { option })
    }
    const grader = new AnswerGrader(fields.grader as Grader)
    requireServed(grader, { requireModel, programs, field: 'method.reinforcement.grader' })
    const schema = schemaOf(fields)
    if (schema) {
      const option = 'method.reinforcement.response_format'
      await requireSchema(schema).catch((error: unknown) => {
        throw error instanceof UsageError ? new UsageError(error.code, error.message, { option }) : error
      })
    }
    for (const { param, path, name } of files) {
      try {
        await checkPrompts(path, name, { variables: grader.variables, hasFormat: schema !== undefined })
      } catch (error) {
        if (error instanceof InputError) throw new UsageError('bad-value', error.message, { option: param })
        throw error
      }
    }
  },
  options({ hyperparameters, method, mora }, own, context) {
    const { compute_multiplier: multiplier = 1, eval_samples: evaluationAnswers = 1 } = hyperparameters
    const grader = new AnswerGrader(method.grader as Grader)
    const schema = schemaOf(method)
    const objective = grpo({
      ...(own as Partial<GrpoOptions>),
      ...rewardsOf(grader, {
        context,
        templateOptions: isJsonObject(mora.templateOptions) ? mora.templateOptions : undefined,
        isWhole: schema !== undefined,
      }),
      ...(schema && { schema }),
      groupSize: Math.max(2, Math.round(ANSWERS * multiplier)),
      rewardTimeout: REWARD_SECONDS,
      ...((grader.models.length > 0 || grader.programs.length > 0) && { rewardConcurrency: QUESTIONS }),
    })
    return { objective: { ...objective, evaluationAnswers }, columns: QUESTION_COLUMNS }
  },
}

interface Judging {
  readonly context: MethodContext
  /** Variables of the template that the job gives. */
  readonly templateOptions: Readonly<Record<string, unknown>> | undefined
  /** Whether an answer is all content, without reasoning and calls, as one that fits a schema. */
  readonly isWhole: boolean
}

/** Returns the JSON schema of a job's answers; undefined for free text. */
const schemaOf = ({ response_format: format }: Job['options']['method']) =>
  format ? schemaOfFormat(format as ResponseFormat) : undefined

/** @throws UsageError `bad-value` for a grader that needs a model, or a grader of the program, that is not here */
export function requireServed(
  { models, programs: used }: AnswerGrader,
  { requireModel, programs, field }: Pick<AskedMethod, 'requireModel' | 'programs'> & { field: string },
): void {
  for (const name of models) {
    try {
      requireModel(name)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      throw new UsageError('bad-value', error.message, { option: `${field}.model` })
    }
  }
  const absent = used.find((name) => !programs.includes(name))
  if (absent === undefined) return
  const known = programs.join(', ') || 'none'
  const problem = `This server has no grader ${quoted(absent)} of its own; it has: ${known}.`
  throw new UsageError('bad-value', problem, { option: `${field}.name` })
}

/** Answers whose scores are remembered: each is asked for by every reward of a step. */
const MOST_KNOWN = 4096

/** Returns the reward of a grader; of several, also their own scores, with the weight 0, so that each is reported. */
function rewardsOf(grader: AnswerGrader, judging: Judging): Pick<GrpoOptions, 'rewards' | 'rewardWeights'> {
  const { context } = judging
  const known = new Map<string, Promise<GradeResult>>()
  const warned = new Set<string>()
  const report = (name: string, { name: error, message }: GraderError) => {
    if (warned.has(`${error} ${name}`)) return
    warned.add(`${error} ${name}`)
    context.warn(`The grader ${name} gave 0 (${error}): ${message}. Later such errors are not told.`)
  }
  const grade = async (answer: JudgedAnswer): Promise<GradeResult> => {
    const sample = await sampleIn(answer, judging)
    const result = await grader.grade({ item: answer.row, sample }, context.help, answer.signal)
    if (grader.grader.type === 'multi' && result.error) report(WHOLE, result.error)
    for (const [name, { error }] of Object.entries(result.scores)) if (error) report(name, error)
    return result
  }
  const graded = (answer: JudgedAnswer): Promise<GradeResult> => {
    const key = createHash('sha256')
      .update(JSON.stringify([answer.row, answer.ids]))
      .digest('base64')
    const result = known.get(key) ?? grade(answer)
    known.set(key, result)
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value!)
    return result
  }
  const { type, name } = grader.grader
  const whole: Reward = async (answer) => (await graded(answer)).score
  if (type !== 'multi') return { rewards: { [name]: whole } }
  const single =
    (name: string): Reward =>
    async (answer) =>
      (await graded(answer)).scores[name]!.score
  const names = Object.keys(grader.grader.graders)
  return {
    rewards: { [WHOLE]: whole, ...Object.fromEntries(names.map((name) => [name, single(name)])) },
    rewardWeights: [1, ...names.map(() => 0)],
  }
}

/** Returns an answer with its reasoning left out and its calls parsed. */
async function sampleIn(
  { completion, ids, row, hasEnded }: JudgedAnswer,
  { context, templateOptions = {}, isWhole }: Judging,
): Promise<AnswerSample> {
  const { tokenizer } = context.model
  const template = tokenizer && (await resolveTemplate(context.template, tokenizer))
  if (!template || isWhole) return sampleOf(completion, [], hasEnded)
  const tools = Array.isArray(row.tools) && row.tools.length > 0 ? (row.tools as unknown[]) : null
  const form = await knownAnswerForm(template, { tools, templateOptions })
  const text = await tokenizer.decode(hasEnded ? ids.slice(0, -1) : [...ids])
  const { content, toolCalls } = parseAnswer(text, { form, tools })
  return sampleOf(content, toolCalls, hasEnded)
}
