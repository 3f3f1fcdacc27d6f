import { addLength, leftOutNote, longRowsNote, noLengths } from '../batches/examples/summary.js'
import { aFunction, check, optionsSchema } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { Engine } from '../engine/index.js'
import { aModel } from '../generate/index.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { writeFully, writeStreamAtomic } from '../io/atomic.js'
import type { AdapterChoice, LoadedModel } from '../models/index.js'
import {
  checkEvalOptions,
  type EvalInput,
  type EvalOptions,
  EvalSchema,
  parseOptions,
  requireOptions,
  type Task,
} from '../options/index.js'
import { namesOf } from '../rows/sources/open.js'
import type { AnyRow, DataInput, RowOf } from '../rows/sources/source.js'
import { generated, loadScorer, type Scorer } from '../tasks/generate.js'
import { type AskedTask, type FiguresOf, isAsked, taskNamed } from '../tasks/index.js'
import type { AnswerTask, ChoiceTask, Measures, RowEntry } from '../tasks/task.js'
import { askChoices } from './ask-choices.js'
import { classification, preferences } from './classify.js'
import { change, forgetting } from './compare.js'
import type { EvalProgress, OpenData, TaskContext } from './context.js'
import { nearness } from './embeddings.js'
import { logProbs, perplexity } from './log-probs.js'
import { recall } from './recall.js'
import { openData, openTask } from './rows.js'
import { textsAtOnce } from './score.js'
import { generatedTexts, readPredictions, scoreTexts } from './score-texts.js'

/** The tasks that ask no rows. */
const measurements = {
  logprobs: logProbs,
  perplexity,
  recall,
  forgetting,
  change,
  classify: classification,
  reward: preferences,
  embed: nearness,
} satisfies Record<Exclude<Task, AskedTask>, (context: TaskContext) => Promise<object>>

/**
 * The result of a task: its figures by name. Of tasks with questions also the task's name and the number of rows, or with `details` an
 * entry for each row.
 */
export type EvalResult<T extends Task = Task, Details extends boolean = boolean> = T extends AskedTask
  ? {
      /** The task's name. */
      task: T
      /** The number of rows, or with `details` their entries. */
      rows: Details extends true ? readonly RowEntry[] : number
    } & FiguresOf<T>
  : Awaited<ReturnType<(typeof measurements)[Exclude<T, AskedTask>]>>

/** Options of `evaluate`: the options of `mora eval` in camelCase, and callbacks. */
export interface EvaluateOptions<T extends Task = Task, Row = AnyRow>
  extends Omit<EvalInput, 'task' | 'base' | 'score'>,
    Pick<HubOptions, 'onDownload' | 'onWarning' | 'signal'> {
  /** The task to evaluate. */
  task: T
  /** For `choices`: compare the letters, or the whole choices. For `generate`: the function that scores a text. */
  score?: EvalInput['score'] | Scorer<Row>
  /** The model before, for `forgetting` and `change`. By default, `model` without its active adapters. */
  base?: LoadedModel
  /**
   * The adapters of this call, by name or with another factor, whatever is active in the model; `[]` is the model without adapters.
   * Default: the adapters that are active at its beginning.
   */
  adapters?: AdapterChoice
  /** Called after each row, or for a text after each window. */
  onProgress?: (progress: EvalProgress) => void
}

const evaluateArguments = {
  model: aModel.nullable(),
  input: optionsSchema('the options of evaluate', {
    ...hubKinds,
    onProgress: aFunction.optional(),
    base: aModel.optional(),
  }),
}

/**
 * Measures a model with its active adapters, or the adapters of the call. It takes the options of `mora eval`; `task` and
 * `data` are required.
 *
 * ```ts
 * import { evaluate, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { perplexity } = await evaluate(model, { task: 'perplexity', data: 'valid.txt', window: 64 })
 * ```
 *
 * A function scores the texts of the task `generate`, whose result is the mean:
 *
 * ```ts
 * import { evaluate, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { score } = await evaluate(model, {
 *   task: 'generate',
 *   data: 'test.jsonl',
 *   maxNewTokens: 8,
 *   score: async ({ row, text }) => (text.includes(String(row.answer)) ? 1 : 0),
 * })
 * ```
 *
 * With `output`, it writes a line of JSON for each row (or window); the file appears when the evaluation is done.
 *
 * @param model null if `predictions` names a file with the texts to score
 * @throws UsageError of options that are wrong or do not fit the model
 * @throws InputError of malformed rows; a task that scores rows reads all of them first
 * @throws RunError `scorer-failed`
 * @throws the reason of a `signal` that is aborted, between rows, forward passes and tokens
 */
export async function evaluate<
  T extends Task = Task,
  Data extends DataInput = DataInput,
  Details extends boolean = false,
>(
  model: LoadedModel | null,
  input: EvaluateOptions<T, RowOf<Data>> & { data?: Data; details?: Details },
): Promise<EvalResult<T, Details>>
export async function evaluate(model: LoadedModel | null, input: EvaluateOptions): Promise<object> {
  check({ model, input }, evaluateArguments)
  const { base, adapters, onProgress, onDownload, onWarning = () => {}, signal, ...given } = input
  signal?.throwIfAborted()
  const { score } = given
  const scorer = typeof score === 'function' ? score : undefined
  const parsed = parseOptions(EvalSchema, { ...given, score: scorer ? undefined : score })
  requireOptions(EvalSchema, parsed)
  if (scorer && parsed.task !== 'generate') {
    throw new UsageError('unfit-options', `A function as score belongs to the task generate, not to ${parsed.task}.`)
  }
  if (scorer && parsed.scorer !== undefined) {
    throw new UsageError('unfit-options', 'A function as score does not go with scorer: give only one of them.')
  }
  checkEvalOptions({ ...parsed, base, scorer: scorer ?? parsed.scorer })
  const options = parsed.data ? parsed : { ...parsed, data: [parsed.text!], text: undefined }
  const measure = await prepare(model, options, { base: base ?? null, adapters, scorer, onDownload, onWarning, signal })
  const counter = new Counter(options.limit ?? null, onProgress)
  return withLines(options.output, (write) =>
    measure({
      found(rows) {
        counter.total = rows
      },
      async done(line, summary) {
        await write(line)
        counter.count(summary)
      },
    }),
  )
}

type Call = Pick<EvaluateOptions, 'adapters' | 'onDownload' | 'signal'> & {
  base: LoadedModel | null
  scorer: Scorer | undefined
  onWarning: (message: string) => void
}

/** Opens the data of a task, and returns the function that measures the model. */
async function prepare(
  model: LoadedModel | null,
  options: EvalOptions,
  { base, adapters, scorer, ...hubOptions }: Call,
): Promise<(calls: Pick<TaskContext, 'found' | 'done'>) => Promise<object>> {
  const { predictions } = options
  const name = options.task!
  const hub = { offline: options.offline, ...hubOptions }
  const task: AnswerTask | ChoiceTask | ((context: TaskContext) => Promise<object>) =
    name === 'generate'
      ? generated(scorer ?? (await loadScorer(options.scorer!)))
      : isAsked(name)
        ? taskNamed(name, options.score)
        : measurements[name]
  if (predictions !== undefined && 'answer' in task) {
    const data = await openData(options, hub)
    const open = async (rows: number) => {
      const texts = await readPredictions(predictions, rows)
      return async (_: unknown, i: number) => texts[i]!
    }
    return async (calls) => {
      const entries = await scoreTexts(task, { ...data, ...calls }, open)
      noteIgnored(data, hub)
      return resultOf(task, entries, options)
    }
  }
  if (model === null) {
    throw new UsageError('missing-argument', 'Missing a model; only the texts of predictions are scored without one.')
  }
  const template = options.template ?? ('prompt' in task && task.prompt.isPlain ? 'none' : 'auto')
  const opened = await openTask(model.withAdapters(adapters), options, { ...hub, template })
  return async (calls) => {
    const notes = new Notes(model.config.maxPositions)
    const context: TaskContext = { ...opened, ...calls, base, encoded: notes.encoded, cut: notes.cut }
    let result: object
    if (typeof task === 'function') result = await task(context)
    else if ('choices' in task) result = resultOf(task, await askChoices(task, context), options)
    else {
      await using engine = new Engine(context.model, { sequences: textsAtOnce(options) })
      const open = () => generatedTexts(task, context, engine)
      result = resultOf(task, await scoreTexts(task, context, open, engine.sequences), options)
    }
    for (const note of notes.texts()) hub.onWarning(note)
    noteIgnored(opened, hub)
    return result
  }
}

function noteIgnored({ data, shotsData = [], reading }: OpenData, { onWarning }: Pick<Call, 'onWarning'>): void {
  if (reading.ignoredNote !== null) onWarning(`${namesOf([...data, ...shotsData])}: ${reading.ignoredNote}`)
}

const resultOf = (
  { measures }: { measures: Measures },
  entries: readonly RowEntry[],
  { task, details }: EvalOptions,
): object => ({
  task,
  rows: details ? entries : entries.length,
  ...Object.fromEntries(Object.entries(measures).map(([name, measure]) => [name, measure!(entries)])),
})

/** Notes about cut rows and prompts, for the end of an evaluation. */
class Notes {
  readonly #lengths = noLengths()
  /** Tokens of the longest prompt that was cut. */
  #longest = 0

  constructor(readonly maxPositions: number) {}

  readonly encoded: TaskContext['encoded'] = (row) => addLength(this.#lengths, row)

  readonly cut: TaskContext['cut'] = (ids, more) => {
    const room = Math.max(this.maxPositions - more, Math.floor(this.maxPositions / 2))
    if (ids.length <= room) return ids
    this.#longest = Math.max(this.#longest, ids.length)
    return ids.slice(-room)
  }

  texts(): string[] {
    const [rows, calls] = [longRowsNote(this.#lengths), leftOutNote(this.#lengths)]
    const prompts =
      this.#longest > 0 &&
      `Prompts that do not fit the model's ${this.maxPositions} positions lost their beginning (the longest has ${this.#longest} tokens).`
    return [rows && `${rows}.`, calls && `${calls}.`, prompts].filter((note) => typeof note === 'string')
  }
}

class Counter {
  #done = 0

  constructor(
    public total: number | null,
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
