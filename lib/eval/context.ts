/** The context of tasks: their data, options and model. */
import type { EncodedRow } from '../batches/examples/encode.js'
import type { LoadedModel, ModelView } from '../models/index.js'
import type { EvalOptions } from '../options/index.js'
import type { RowReading } from '../rows/reading.js'
import type { OpenSource } from '../rows/sources/open.js'
import type { ChatTemplate, TemplateContext } from '../text/template.js'

/** Progress of an evaluation. */
export interface EvalProgress {
  /** Number of rows done so far, or of windows of a text. */
  done: number
  /** The number of rows, if they are all read first; else the largest possible `done`, if `limit` is set; else null. */
  total: number | null
  /** A short phrase about the result so far, such as `accuracy 0.25`; empty if there is none. */
  summary: string
}

/** The opened data of a task, and how its rows are read. */
export interface OpenData {
  readonly options: EvalOptions
  readonly data: readonly OpenSource[]
  readonly shotsData: readonly OpenSource[] | undefined
  readonly reading: RowReading
  /** Aborting it ends the task with its reason. */
  readonly signal?: AbortSignal
}

/** The input of a task that turns rows into tokens. */
export interface RowsContext extends OpenData {
  readonly model: Pick<ModelView, 'path' | 'config' | 'tokenizer' | 'adapterSet'>
  /** If null, prompts are used without a template. */
  readonly template: ChatTemplate | null
  /** Template variables for rows without their own. */
  readonly templateContext: TemplateContext
  /** Largest number of tokens of a row. */
  readonly maxLength: number
  /** Called when a row has become tokens. */
  encoded(row: EncodedRow): void
}

/** The input of a task. */
export interface TaskContext extends RowsContext {
  /** Called when all rows have been read, before the first is scored. */
  found(rows: number): void
  /** Called when a row (or window) is done, with its line of `--output` and the result so far. */
  done(line: object, summary?: string): Promise<void>
  readonly model: ModelView
  /** The model before, for `forgetting` and `change`; null means the model without its active adapters. */
  readonly base: LoadedModel | null
  /** Returns the end of a prompt that leaves room for `more` tokens within the model's positions. */
  cut(ids: readonly number[], more: number): readonly number[]
}
