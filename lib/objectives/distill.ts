import { z } from 'zod'
import type { Batch } from '../batches/batch.js'
import type { DatasetOptions } from '../batches/dataset.js'
import type { StepRow } from '../batches/step-rows.js'
import { aText, check, expecting, having, optionsSchema } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { optionName, theOption } from '../common/option-names.js'
import type { DataSource } from '../rows/sources/source.js'
import { optionalFlag, optionalInteger, optionalReal, text } from '../schema/option.js'
import { inGroup, type LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { add, exp, mul, softplus, sub } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, sum } from '../tensor/operations/reductions.js'
import { noGrad } from '../tensor/tape.js'
import type { Tensor } from '../tensor/tensor.js'
import { maxNewTokens, playAll, trainedEpisode } from './episodes.js'
import { plus } from './formulas.js'
import { likeliest, likeliestIn, withRest } from './likeliest.js'
import {
  type BuiltInObjective,
  type ForwardModel,
  type KeptValues,
  type Objective,
  sumOverTargets,
} from './objective.js'
import { loadQuestions, type Question } from './questions.js'
import { OWN_ANSWERS, type SampleContext, type SampledStep } from './rollouts.js'

export const DistillSchema = z.strictObject({
  beta: optionalReal('from forward (0) to reverse (1) KL', { min: 0, max: 1, defaultText: '0.5' }),
  teacher: text('teacher model with the same vocabulary: a path or hub id', 'M', {
    expects: 'the path or hub id of a model',
    hub: 'model',
    resume: 'free',
  }),
  teacherTopK: optionalInteger(
    "compute the teacher's K likeliest tokens once, before the first step, and keep them in the output folder",
    { min: 1, defaultText: 'all tokens, in each step' },
  ),
  ...inGroup(OWN_ANSWERS, {
    onPolicy: optionalFlag("train on the model's own completions of prompts in place of the data's"),
    maxNewTokens,
    temperature: optionalReal('divides the logits of model and teacher', { above: 0, defaultText: '1' }),
  }),
})

/** The options of distillation that files can give. */
type DistillInput = LibraryInput<typeof DistillSchema>

/** Options of distillation, with the defaults of TRL's `GKDTrainer`. */
export interface DistillOptions extends Omit<DistillInput, 'teacher'> {
  /** A model with the same vocabulary on the same device; or its path or hub id, and a run loads it and disposes of it. */
  teacher: ForwardModel | string
}

/**
 * Distillation (arXiv 2306.13649, equation 4): the divergence of the student from a teacher at each target token. With
 * m = β p_teacher + (1 − β) p_student it is β KL(p_teacher ‖ m) + (1 − β) KL(p_student ‖ m); for β = 0 it is the forward
 * KL(p_teacher ‖ p_student), for β = 1 the reverse KL(p_student ‖ p_teacher). `temperature` divides the logits of both. The loss is the
 * mean over target tokens. With `teacherTopK`, the K likeliest tokens of the teacher are compared, and all others as one. With
 * `onPolicy` the rows are prompts, which the student answers itself at that temperature.
 *
 * ```ts
 * import { distill, loadModel, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const teacher = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const data = [{ prompt: 'Say hello.', completion: 'Hello!' }]
 * await train(model, { objective: distill({ teacher, beta: 0 }), data, maxSteps: 2 }).finished
 * ```
 *
 * @throws UsageError for an option of the wrong type or range; the loss, if vocabularies differ in size
 */
export function distill(options: DistillOptions): Objective {
  check({ options }, distillArguments)
  const { teacher, ...others } = options
  const settings = parseOptions(DistillSchema, others)
  const { beta = 0.5, temperature = 1, teacherTopK: k, onPolicy, maxNewTokens = 256 } = settings
  if (onPolicy && k !== undefined)
    throw new UsageError(
      'unfit-options',
      `${optionName('teacherTopK')} does not go with ${optionName('onPolicy')}: what the teacher says is kept of rows, and answers are new in each step.`,
    )
  const isLoaded = typeof teacher !== 'string'
  const reference = isLoaded ? teacher.reference : teacher
  const hash = isLoaded && teacher.base?.identity()?.hash
  const isAdapted = isLoaded && (teacher.adapterSet?.activeNames().length ?? 0) > 0
  const logOf = (logits: Tensor) => logSoftmax(temperature === 1 ? logits : mul(logits, 1 / temperature))
  const statesOf = (batch: Batch) => {
    if (!isLoaded) throw new UsageError('bad-value', `A run loads the teacher ${teacher}; give a loaded model here.`)
    return teacher.forwardAsync(batch, { rows: 'targets', gradients: false })
  }
  /** Tokens of the teacher, once it has made a pass. */
  let vocabulary: number | undefined
  const keepLikeliest = (k: number): KeptValues => ({
    width: 2 * k,
    // Adapters of the teacher are not identified by their names.
    settings: hash && !isAdapted ? JSON.stringify({ temperature }) : null,
    async of(_, batch) {
      const states = await statesOf(batch)
      try {
        return await likeliest(states, batch.targetTokens, k, (logits) => {
          vocabulary = logits.shape[1]
          return logOf(logits)
        })
      } finally {
        states.dispose()
      }
    },
  })
  const keep = k === undefined ? undefined : keepLikeliest(k)
  return {
    name: 'distill',
    options: { ...plainOptions(others), ...(reference && { teacher: reference }) },
    prepare: async (run) => distill({ ...others, teacher: await run.teacher(teacher) }),
    ...(hash && { hashes: { teacher: hash } }),
    keep,
    ...(onPolicy && {
      load: (source: readonly DataSource[], how: DatasetOptions) => loadQuestions(source, how, { maxNewTokens }),
      sample: (rows: readonly StepRow[], context: SampleContext) =>
        answersTo(rows, context, { maxNewTokens, temperature }),
    }),
    async loss(model, batch, { gradients, kept }) {
      if (keep) {
        const top = kept?.(batch) ?? (await keep.of(model, batch))
        return sumOverTargets(model, batch, { gradients }, (logits, _, from, to) => {
          requireSameVocabulary(vocabulary ?? logits.shape[1]!, logits.shape[1]!)
          const { ids, wanted } = likeliestIn(top.subarray(2 * k! * from, 2 * k! * to), k!, logits)
          return divergence(wanted, withRest(gather(logOf(logits), ids)), beta)
        })
      }
      // Before the student's states exist, the teacher's pass has most memory.
      const states = await statesOf(batch)
      try {
        return await sumOverTargets(model, batch, { gradients }, (logits, _, from, to) => {
          const wanted = noGrad(() => states.logits(from, to))
          requireSameVocabulary(wanted.shape[1]!, logits.shape[1]!)
          return divergence(logOf(wanted), logOf(logits), beta)
        })
      } finally {
        states.dispose()
      }
    },
  }
}

/** Has each row's prompt answered by the student. */
async function answersTo(
  rows: readonly StepRow[],
  context: SampleContext,
  { maxNewTokens, temperature }: { maxNewTokens: number; temperature: number },
): Promise<SampledStep> {
  const requests = rows.map(({ documents, row }) => ({ question: documents[0] as Question, place: row }))
  const sampling = { temperature, topK: 0, topP: 1 }
  const alone = { maxTurns: 1, logprobs: false, tools: {}, environment: undefined, toolTimeout: 1 }
  const episodes = await playAll(requests, context, { maxNewTokens, sampling, ...alone })
  return {
    rows: episodes.map((episode, i) => ({ ...trainedEpisode(episode), row: requests[i]!.place })),
    // No answer is better than another.
    rollouts: new Map(requests.map(({ place }) => [place, { advantage: 0 }])),
    metrics: {},
    records: episodes.map(({ question: { prompt }, completion }) => ({ prompt, completion })),
  }
}

const someTeacher = z.union([having('a model (loadModel gives one)', 'forwardAsync'), aText])
const distillArguments = {
  options: optionsSchema('the options of distill', {
    teacher: expecting('a model (loadModel gives one), or its path or hub id', someTeacher),
  }),
}

/** Returns the divergence between the distributions of each token [n], which are given as logarithms [n, V]. */
function divergence(teacher: Tensor, student: Tensor, beta: number): Tensor {
  if (beta === 0) return kl(teacher, student)
  if (beta === 1) return kl(student, teacher)
  const [a, b] = [add(teacher, Math.log(beta)), add(student, Math.log(1 - beta))]
  // ln (e^a + e^b)
  const mixture = add(a, softplus(sub(b, a)))
  return plus(mul(kl(teacher, mixture), beta), mul(kl(student, mixture), 1 - beta))
}

const kl = (of: Tensor, from: Tensor): Tensor => sum(mul(exp(of), sub(of, from)), -1)

function requireSameVocabulary(theirs: number, ours: number): void {
  if (theirs === ours) return
  throw new UsageError(
    'other-vocabulary',
    `The teacher has a vocabulary of ${theirs} tokens, but the model has one of ${ours}: distillation needs the same one.`,
  )
}

export const distillObjective = {
  name: 'distill',
  help: 'imitates the probabilities of another model, its teacher',
  schema: DistillSchema,
  needs: ['teacher'],
  make({ teacher, ...others }: DistillInput) {
    if (teacher) return distill({ teacher, ...others })
    throw new UsageError(
      'missing-option',
      `The objective distill needs a model to imitate: give ${theOption('teacher')}.`,
    )
  },
} as const satisfies BuiltInObjective
