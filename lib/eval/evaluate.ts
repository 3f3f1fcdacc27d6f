import { aFunction, check, having, optionsSchema } from '../common/arguments.js'
import { addLength, longRowsNote, noLengths } from '../data/summary.js'
import { withAdaptersOf } from '../generate/index.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { writeFully, writeStreamAtomic } from '../io/atomic.js'
import type { AdapterChoice } from '../models/index.js'
import {
  checkEvalOptions,
  type EvalInput,
  EvalSchema,
  parseOptions,
  requireOptions,
  type Task,
} from '../options/index.js'
import { answerChoices } from './choices.js'
import { change, forgetting } from './compare.js'
import { exactMatch } from './exact-match.js'
import { logProbs } from './logprobs.js'
import { perplexity } from './perplexity.js'
import { recall } from './recall.js'
import { openTask } from './rows.js'
import type { EvalProgress, EvalResults, EvaluatedModel, RunTask, TaskContext } from './task.js'

const TASKS: { [T in Task]: RunTask<T> } = {
  logprobs: logProbs,
  perplexity,
  'exact-match': exactMatch,
  choices: answerChoices,
  recall,
  forgetting,
  change,
}

const aModel = having('a model (loadModel gives one)', 'tokenLogProbs', 'config')

/** Options of `evaluate`: those of `mora eval` in camelCase, and callbacks. */
export interface EvaluateOptions<T extends Task = Task>
  extends Omit<EvalInput, 'task' | 'base'>,
    Pick<HubOptions, 'onDownload' | 'onWarning' | 'signal'> {
  /** The task to evaluate. */
  task: T
  /** The model before, for `forgetting` and `change`. By default, `model` without its active adapters. */
  base?: EvaluatedModel
  /**
   * The adapters of this call, by name or with another factor, whatever is active in the model; `[]` is the model without adapters.
   * Default: those that are active at its beginning.
   */
  adapters?: AdapterChoice
  /** Called after each row, or for a text after each window. */
  onProgress?: (progress: EvalProgress) => void
}

const evaluateArguments = {
  model: aModel,
  input: optionsSchema('the options of evaluate', {
    ...hubKinds,
    onProgress: aFunction.optional(),
    base: aModel.optional(),
  }),
}

/**
 * Measures a model with its active adapters, or those that the call chooses. The options are those of `mora eval`; `task` and
 * `data` are required.
 *
 * ```ts
 * import { evaluate, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { perplexity } = await evaluate(model, { task: 'perplexity', data: 'valid.txt', window: 64 })
 * ```
 *
 * With `output`, it writes a line of JSON for each row (or window); the file appears when the evaluation is done.
 *
 * @throws UsageError of options that are wrong or do not fit the model
 * @throws InputError of malformed rows
 * @throws the reason of a `signal` that is aborted, between rows, forward passes and tokens
 */
export async function evaluate<T extends Task = Task>(
  model: EvaluatedModel,
  input: EvaluateOptions<T>,
): Promise<EvalResults[T]> {
  check({ model, input }, evaluateArguments)
  const { base, adapters, onProgress, onDownload, onWarning = () => {}, signal, ...given } = input
  signal?.throwIfAborted()
  const options = parseOptions(EvalSchema, given, { source: 'api' })
  requireOptions(EvalSchema, options, 'api')
  checkEvalOptions({ ...options, base }, 'api')
  const run = TASKS[options.task as T] as RunTask<T>
  const settings = await openTask(withAdaptersOf(model, adapters), options, {
    offline: options.offline,
    onDownload,
    onWarning,
    signal,
  })
  const counter = new Counter(options.limit ?? null, onProgress)
  const lengths = noLengths()
  const result = await withLines(options.output, (write) => {
    const done: TaskContext['done'] = async (line, summary) => {
      await write(line)
      counter.count(summary)
    }
    return run({
      ...settings,
      base: base ?? null,
      done,
      encoded: (row) => addLength(lengths, row),
    })
  })
  const note = longRowsNote(lengths)
  if (note) onWarning(`${note}.`)
  return result
}

class Counter {
  #done = 0

  constructor(
    readonly total: number | null,
    readonly tell: ((progress: EvalProgress) => void) | undefined,
  ) {}

  count(summary = ''): void {
    this.#done++
    this.tell?.({ done: this.#done, total: this.total, summary })
  }
}

/** Runs `work` with a function that writes a line of JSON to a file, if any; the file is complete at the end or absent. */
async function withLines<Result>(
  path: string | undefined,
  work: (write: (line: object) => Promise<void>) => Promise<Result>,
): Promise<Result> {
  if (path === undefined) return work(async () => {})
  let result: Result
  await writeStreamAtomic(path, async (handle) => {
    const encoder = new TextEncoder()
    result = await work((line) => writeFully(handle, encoder.encode(`${JSON.stringify(line)}\n`)))
  })
  return result!
}
