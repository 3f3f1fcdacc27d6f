/** Files and jobs as the store keeps them. */
import { z } from 'zod'

/** Purposes of files that clients upload. */
export const UPLOAD_PURPOSES = ['fine-tune', 'batch'] as const

/** What the rows of a file can train: examples, pairs, or prompts alone; `requests` are those of a batch. */
const FILE_KINDS = ['examples', 'pairs', 'prompts', 'requests'] as const
export type FileKind = (typeof FILE_KINDS)[number]

const time = z.int().min(0)

/** Fields of everything in the store. `owner` is the name of the key that made it; null without names. */
const base = { id: z.string(), owner: z.string().nullable(), createdAt: time }

/** Sorts what is in the store. */
export const newestFirst = <One extends { createdAt: number; id: string }>(all: One[]): One[] =>
  all.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))

export const FileSchema = z.object({
  ...base,
  filename: z.string(),
  bytes: z.int().min(0),
  purpose: z.enum([...UPLOAD_PURPOSES, 'fine-tune-results', 'batch_output']),
  /** Milliseconds since 1970, as all times of records. */
  expiresAt: time.nullable(),
  /** Null for results. */
  kind: z.enum(FILE_KINDS).nullable(),
  rows: z.int().min(0),
})

/** An uploaded file, or the results of a job or a batch. */
export type StoredFile = z.output<typeof FileSchema>

/**
 * `queued`: waits, or a former process was running it; `running`; `paused`: stopped with a checkpoint until it is resumed. The others
 * are final.
 */
const STATES = ['queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'] as const

const HyperparametersSchema = z
  .object({ n_epochs: z.number(), batch_size: z.number(), learning_rate_multiplier: z.number() })
  .catchall(z.number())
export type Hyperparameters = z.output<typeof HyperparametersSchema>

const values = z.record(z.string(), z.unknown())

export const JobSchema = z.object({
  ...base,
  /** The base model's name, as clients know it. */
  model: z.string(),
  /** The tuned model whose adapter is trained further. */
  continues: z.string().nullable().default(null),
  data: z.object({
    training: z.string(),
    validation: z.string().nullable(),
    /** Number of training rows. */
    rows: z.int().min(1),
  }),
  /** The method's name, as clients write it. */
  objective: z.string(),
  options: z.object({
    hyperparameters: HyperparametersSchema,
    /** Options of `train` that the client gave, by the library's names. */
    mora: values,
    /** Fields of the method beside these, such as a grader. */
    method: values,
    seed: z.int(),
    suffix: z.string().nullable(),
    metadata: z.record(z.string(), z.string()).nullable(),
    integrations: z.array(values).nullable(),
  }),
  state: z.enum(STATES),
  startedAt: time.nullable(),
  /** Number of steps; null before the first. */
  steps: z.int().min(1).nullable(),
  finishedAt: time.nullable(),
  error: z.object({ code: z.string(), message: z.string(), param: z.string().nullable() }).nullable(),
  tunedModel: z.string().nullable(),
  trainedTokens: z.int().min(0).nullable(),
  resultFile: z.string().nullable(),
  /** Whether the tuned model was deleted. */
  isDeleted: z.boolean(),
})

/** A job: a value that says what is trained, how, and how far it is. */
export type Job = z.output<typeof JobSchema>

export const isFinal = ({ state }: Job): boolean => state === 'succeeded' || state === 'failed' || state === 'cancelled'

/** `validating`: it waits, or its lines are being checked; `finalizing`: no more are answered. The last four are final. */
const BATCH_STATES = [
  'validating',
  'in_progress',
  'finalizing',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
  'expired',
] as const

export const COMPLETION_WINDOW = /^(?:24h|(?:[1-9]|1[0-4])d)$/

export const BatchSchema = z.object({
  ...base,
  /** The route of its requests. */
  endpoint: z.string(),
  /** Id and name of the file with its requests. */
  input: z.string(),
  filename: z.string(),
  state: z.enum(BATCH_STATES),
  /** When it came into each state. */
  times: z.partialRecord(z.enum(BATCH_STATES), time),
  /** Numbers of requests: all, those with an answer, and those with an error. */
  counts: z.object({ total: z.int().min(0), completed: z.int().min(0), failed: z.int().min(0) }),
  /** Why its lines are no requests. */
  problems: z.array(z.object({ code: z.string(), message: z.string(), line: z.int().nullable() })),
  /** Ids of files with answers and errors. */
  output: z.string().nullable(),
  errors: z.string().nullable(),
  metadata: z.record(z.string(), z.string()).nullable(),
  /** Seconds after which these files expire. */
  expiry: z.int().nullable(),
  /** The time that it may take, as clients write it: `24h`, or some days, such as `7d`. */
  window: z.string().regex(COMPLETION_WINDOW).default('24h'),
})

/** Requests of a file, which the server answers one after the other. */
export type RequestBatch = z.output<typeof BatchSchema>

export const isOver = ({ state }: RequestBatch): boolean =>
  state === 'completed' || state === 'failed' || state === 'cancelled' || state === 'expired'

/** When the time is over that a batch may take [ms since 1970]. */
export const endOfWindow = ({ createdAt, window }: Pick<RequestBatch, 'createdAt' | 'window'>): number =>
  createdAt + 3_600_000 * (window === '24h' ? 24 : 24 * Number.parseInt(window, 10))
