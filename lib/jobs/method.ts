/** What a method of jobs is. */
import type { z } from 'zod'
import type { GraderHelp } from '../graders/grade.js'
import type { Model } from '../models/index.js'
import type { TrainInput, TrainSchema } from '../options/index.js'
import type { TrainOptions } from '../train/index.js'
import type { FileKind, Hyperparameters, Job } from './records.js'

export type OptionName = keyof typeof TrainSchema.shape

/** A hyperparameter of one method. */
export interface Hyperparameter {
  /** What it may be, beside `auto`. */
  readonly expects: string
  readonly field: z.ZodType<number | string>
  /** Returns its automatic value; absent: it is a word that changes nothing. */
  readonly automatic?: (others: Hyperparameters, rows: number) => number
  /** Whether it says how the validation file is used. */
  readonly isOfValidation?: boolean
}

/** The server of a job, as its method needs it. */
export interface MethodContext {
  readonly model: Pick<Model, 'tokenizer'>
  /** The chat template: `auto`, or the path of a file. */
  readonly template: string
  /** The name in the model of the adapter that the job trains further, as it was before; null for a new adapter. */
  readonly reference: string | null
  /** What graders need of the server. */
  readonly help: GraderHelp
  /** Tells the client something that it may want to change. */
  readonly warn: (message: string) => void
}

/** What a client asks of a method, and the files that it named. */
export interface AskedMethod {
  /** Fields beside hyperparameters, and options of `train`. */
  readonly fields: Job['options']['method']
  readonly mora: Job['options']['mora']
  /** The tuned model that is trained further. */
  readonly continues: string | null
  readonly files: readonly {
    readonly param: string
    readonly path: string
    /** The file's name for clients. */
    readonly name: string
  }[]
  /** @throws UsageError `unknown-adapter` for a model that is not served to the client */
  requireModel(name: string): void
  /** @throws UsageError for a JSON schema that cannot be enforced */
  requireSchema(schema: unknown): Promise<void>
  /** Names of the program's graders. */
  readonly programs: readonly string[]
}

/** A method of jobs. */
export interface JobMethod {
  /** Kinds of files that it trains. */
  readonly kinds: readonly FileKind[]
  /** The rows of these, for errors. */
  readonly rows: string
  /** Factor of the automatic learning rate. */
  readonly rateFactor: number
  /** Returns the automatic batch size. */
  readonly batchSize: (rows: number) => number
  /** Its own hyperparameters. */
  readonly hyperparameters: Readonly<Record<string, Hyperparameter>>
  /** Its fields beside hyperparameters. */
  readonly fields: Readonly<Record<string, z.ZodType>>
  /** Options of `train` that clients may give for it, beside those of every method. */
  readonly allowed: readonly OptionName[]
  /** @throws UsageError for fields and rows that do not fit each other */
  check?(asked: AskedMethod): Promise<void>
  /** Returns its options of `train`. @param own the options of `allowed` that the client gave */
  options(options: Job['options'], own: Partial<TrainInput>, context: MethodContext): Partial<TrainOptions>
}
