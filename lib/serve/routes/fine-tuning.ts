/** `/v1/fine_tuning/jobs`: training jobs, their events and their checkpoints. */
import { z } from 'zod'
import { anyText, wholeBetween } from '../../common/arguments.js'
import { fieldOf } from '../../common/option-names.js'
import { type Grader, singleGraders } from '../../graders/grader.js'
import {
  CLIENT_OPTIONS,
  checkpointsOfRun,
  JOB_METHODS,
  type Job,
  type JobRequest,
  type Jobs,
  positiveTo,
  type StepMetrics,
  stepsOfRun,
  wholeTo,
} from '../../jobs/index.js'
import { TrainSchema } from '../../options/index.js'
import { onlyFields } from '../../schema/only-fields.js'
import { readBody } from '../body.js'
import {
  eitherOf,
  listField,
  metadataField,
  optionField,
  parseFields,
  shortTextField,
  wordField,
  wrongField,
} from '../fields.js'
import { pageOf } from '../pages.js'
import type { ClientRoutes, JobAsked } from '../serving.js'

export const FINE_TUNING_ROUTES: ClientRoutes = {
  '/v1/fine_tuning/jobs': { GET: list, POST: create },
  '/v1/fine_tuning/jobs/:id': { GET: async (_, jobs, { id, owner }) => answer(jobs.get(id, owner), jobs) },
  '/v1/fine_tuning/jobs/:id/cancel': {
    POST: async (_, jobs, { id, owner }) => answer(await jobs.cancel(id, owner), jobs),
  },
  '/v1/fine_tuning/jobs/:id/pause': {
    POST: async (_, jobs, { id, owner }) => answer(await jobs.pause(id, owner), jobs),
  },
  '/v1/fine_tuning/jobs/:id/resume': {
    POST: async (_, jobs, { id, owner }) => answer(await jobs.resume(id, owner), jobs),
  },
  '/v1/fine_tuning/jobs/:id/events': { GET: events },
  '/v1/fine_tuning/jobs/:id/checkpoints': { GET: checkpoints },
}

const auto = ({ expects, field }: { expects: string; field: z.ZodType<number | string> }) =>
  eitherOf(`auto, or ${expects}`, [z.literal('auto'), field]).nullish()

const SHARED_HYPERPARAMETERS = {
  n_epochs: auto(wholeTo(1000)),
  batch_size: auto(wholeTo(4096)),
  learning_rate_multiplier: auto(positiveTo(1000)),
}

/** The object of a method, such as `supervised`. */
function methodFields(type: string) {
  const { hyperparameters, fields, allowed } = JOB_METHODS[type]!
  const own = Object.fromEntries(Object.entries(hyperparameters).map(([name, one]) => [name, auto(one)]))
  const options = [...CLIENT_OPTIONS, ...allowed].map((name) => [fieldOf(name), optionField(TrainSchema.shape[name])])
  return onlyFields({
    hyperparameters: onlyFields({ ...SHARED_HYPERPARAMETERS, ...own }).optional(),
    mora: onlyFields(Object.fromEntries(options) as Record<string, z.ZodType>).optional(),
    ...fields,
  })
}

const shortText = shortTextField(256)
const WandbField = onlyFields({
  type: wordField(['wandb']),
  wandb: onlyFields({
    project: shortText,
    name: shortText.nullish(),
    entity: shortText.nullish(),
    tags: listField(shortText, 'a list of at most 50 texts', { most: 50 }).optional(),
  }),
})

const JobBody = onlyFields({
  model: anyText,
  training_file: anyText,
  validation_file: anyText.optional(),
  suffix: shortTextField(64).optional(),
  seed: wholeBetween(0, Number.MAX_SAFE_INTEGER).optional(),
  metadata: metadataField.optional(),
  integrations: listField(WandbField, 'a list of at most one integration', { most: 1 }).optional(),
  hyperparameters: onlyFields(SHARED_HYPERPARAMETERS).optional(),
  method: z.looseObject({ type: wordField(Object.keys(JOB_METHODS)) }, { error: 'an object' }).optional(),
})

async function create(request: Request, jobs: Jobs, { owner, maxBodyBytes }: JobAsked): Promise<Response> {
  const body = parseFields(JobBody, await readBody(request, maxBodyBytes))
  const { integrations = [] } = body
  const type = body.method?.type ?? 'supervised'
  if (body.hyperparameters && body.method) {
    throw wrongField('hyperparameters', `Give hyperparameters in method.${type}, and not beside it.`)
  }
  const given = { method: { type, [type]: { hyperparameters: body.hyperparameters }, ...body.method } }
  const schema = z.object({ method: onlyFields({ type: z.string(), [type]: methodFields(type) }) })
  const own = parseFields(schema, given).method[type] as unknown as z.output<ReturnType<typeof methodFields>>
  const { hyperparameters = {}, mora = {}, ...fields } = own
  const asked: JobRequest = {
    model: body.model,
    training: body.training_file,
    validation: body.validation_file ?? null,
    objective: type,
    hyperparameters: numbersIn(hyperparameters),
    mora: byOption(mora, type),
    method: fields,
    seed: body.seed ?? null,
    suffix: suffixOf(body.suffix),
    metadata: body.metadata ?? null,
    integrations: integrations.length === 0 ? null : integrations.map(withoutNulls),
  }
  return answer(await jobs.create(asked, owner), jobs)
}

/** Leaves out what is to be chosen. */
const numbersIn = (given: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(given).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))

/** Returns options by the library's names. */
function byOption(given: Readonly<Record<string, unknown>>, type: string): Record<string, unknown> {
  const names = [...CLIENT_OPTIONS, ...JOB_METHODS[type]!.allowed]
  const entries = names.map((name) => [name, given[fieldOf(name)]] as const).filter(([, value]) => value !== undefined)
  const expression = entries.find(([, value]) => value instanceof RegExp)
  if (!expression) return Object.fromEntries(entries)
  const field = `method.${type}.mora.${fieldOf(expression[0])}`
  throw wrongField(field, `Expected names for ${field}, not an expression.`)
}

/** The library takes no nulls. */
const withoutNulls = ({ type, wandb }: z.output<typeof WandbField>) => ({
  type,
  wandb: Object.fromEntries(Object.entries(wandb).filter(([, value]) => value !== null)),
})

/** Other characters cannot be in a model's name. */
const suffixOf = (given: string | undefined): string | null => given?.replace(/[^\w.-]+/g, '-') ?? null

const JOB_PAGE = { usual: 20, most: 100 }

async function list(request: Request, jobs: Jobs, { owner }: JobAsked): Promise<Response> {
  const wanted = [...new URL(request.url).searchParams].flatMap(([name, value]) => {
    const key = /^metadata\[(.*)\]$/.exec(name)?.[1]
    return key === undefined ? [] : [[key, value] as const]
  })
  const fits = ({ options: { metadata } }: Job) => wanted.every(([key, value]) => metadata?.[key] === value)
  const { data, ...page } = pageOf(jobs.list(owner).filter(fits), request.url, JOB_PAGE)
  return Response.json({ ...page, data: data.map((job) => jobObject(job, jobs)) })
}

async function events(request: Request, jobs: Jobs, { id, owner }: JobAsked): Promise<Response> {
  const job = jobs.get(id, owner)
  const [{ steps }, messages] = await Promise.all([
    stepsOfRun(jobs.store.pathsOf(job).run, jobs.store.lines),
    jobs.store.messagesOf(job),
  ])
  const total = job.steps ?? steps.length
  const told = messages.map(({ id, at, level, message }) => ({
    at,
    event: { id, level, message, type: 'message', data: {} },
  }))
  const measured = steps.map(({ at, ...metrics }) => {
    const id = `ftevent-${job.id.slice(-16)}${String(metrics.step).padStart(8, '0')}`
    const data = { ...metrics, ...withTypes(metrics, job), total_steps: total }
    return { at, event: { id, level: 'info', message: stepMessage(metrics, total), type: 'metrics', data } }
  })
  // The newest first; a stable sort keeps the order of what has one time.
  const all = [...told, ...measured].sort((a, b) => a.at - b.at).reverse()
  const objects = all.map(({ at, event }) => ({
    ...event,
    object: 'fine_tuning.job.event',
    created_at: Math.floor(at / 1000),
  }))
  return Response.json(pageOf(objects, request.url, { usual: 20, most: 1000 }))
}

/** Returns the means of a step's rewards with the types of their graders. */
function withTypes({ scores }: StepMetrics, { options: { method } }: Job) {
  if (!scores) return {}
  const types = singleGraders(method.grader as Grader)
  const graders = scores.graders.map((one) => ({ ...one, type: types[one.name]?.type }))
  return { scores: { ...scores, graders } }
}

function stepMessage({ step, ...metrics }: StepMetrics, total: number): string {
  const means = metrics.scores
    ? { 'train mean reward': metrics.train_mean_reward, 'full validation mean reward': metrics.full_valid_mean_reward }
    : { 'training loss': metrics.train_loss, 'validation loss': metrics.valid_loss }
  const said = Object.entries(means).flatMap(([name, mean]) => (mean === undefined ? [] : `${name}=${mean.toFixed(2)}`))
  return `Step ${step}/${total}: ${said.join(', ')}`
}

async function checkpoints(request: Request, jobs: Jobs, { id, owner }: JobAsked): Promise<Response> {
  const job = jobs.get(id, owner)
  const { run } = jobs.store.pathsOf(job)
  const [{ steps }, found] = await Promise.all([stepsOfRun(run, jobs.store.lines), checkpointsOfRun(run)])
  const objects = found.map(({ step, createdAt }) => {
    const { at: _, ...metrics } = steps.find((one) => one.step === step) ?? { at: 0, step }
    return {
      id: `ftckpt-${job.id.slice(-16)}${String(step).padStart(8, '0')}`,
      object: 'fine_tuning.job.checkpoint',
      created_at: Math.floor(createdAt / 1000),
      fine_tuned_model_checkpoint: jobs.checkpointName(job, step),
      fine_tuning_job_id: job.id,
      step_number: step,
      metrics,
    }
  })
  return Response.json(pageOf(objects, request.url, { usual: 10, most: 100 }))
}

const answer = (job: Job, jobs: Jobs): Response => Response.json(jobObject(job, jobs))

const seconds = (time: number | null): number | null => (time === null ? null : Math.floor(time / 1000))

/** A job as OpenAI describes it. */
function jobObject(job: Job, jobs: Jobs) {
  const { objective: type, options, data } = job
  const { hyperparameters, mora, method, seed, metadata, integrations } = options
  const given = Object.entries(mora).map(([name, value]) => [fieldOf(name), value])
  const isGiven = given.length > 0
  return {
    object: 'fine_tuning.job',
    id: job.id,
    model: job.continues ?? job.model,
    created_at: seconds(job.createdAt),
    finished_at: seconds(job.finishedAt),
    fine_tuned_model: job.tunedModel,
    organization_id: `org-${job.owner ?? 'local'}`,
    result_files: job.resultFile === null ? [] : [job.resultFile],
    status: job.state,
    validation_file: data.validation,
    training_file: data.training,
    hyperparameters,
    trained_tokens: job.trainedTokens,
    error: job.error,
    user_provided_suffix: options.suffix,
    seed,
    estimated_finish: seconds(jobs.estimatedEnd(job)),
    integrations: integrations ?? [],
    metadata,
    method: { type, [type]: { hyperparameters, ...method, ...(isGiven && { mora: Object.fromEntries(given) }) } },
  }
}
