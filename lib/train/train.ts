import { z } from 'zod'
import type { AdapterConfigBase, AdapterMethod, OptionFields } from '../adapters/contract/adapter.js'
import { registerMethod } from '../adapters/registry.js'
import { aFunction, aSignal, check, expecting, having, optionsSchema } from '../common/arguments.js'
import { Model } from '../models/index.js'
import type { ObjectiveName } from '../objectives/index.js'
import type { Objective } from '../objectives/objective.js'
import type { MethodInput, OptionOfMethod, TrainInput, TrainSettings } from '../options/index.js'
import { type RowChoices, rowChoiceKinds } from '../rows/row-choices.js'
import type { AnyRow, DataInput, RowOf } from '../rows/sources/source.js'
import { type Ranks, someRanks } from '../tensor/ranks.js'
import type { LearningRate } from './learning-rate.js'
import { dropFailures, runTraining } from './recipe.js'
import { type EventCallback, Run } from './run.js'
import type { RunParts } from './setup/plan-run.js'
import { resolveTrainOptions } from './setup/resolve-options.js'

/**
 * Options that only the library has, or that take more values there. It is a type because editors do not show the first two
 * descriptions of an interface.
 */
type CallOptions = {
  /** The peak rate, as on the command line, or a function of the step that replaces the schedule. */
  learningRate?: number | LearningRate
  /**
   * The objective: a built-in one by its name, or a custom one, which a resumed run needs again.
   *
   * Default: sft.
   */
  objective?: ObjectiveName | Objective
  /** Called with every event, and awaited before the run goes on; if it throws, the run ends. */
  onEvent?: EventCallback
  /**
   * Aborting it ends the run like `stop()`, but without completing the current step or evaluation: everything up to the last
   * step is saved, and `finished` and the iteration reject with the signal's reason. Before the first step nothing is written.
   */
  signal?: AbortSignal
  /**
   * The processes that train together; each calls `train` with the same model and options. By default only this one. A
   * step uses the same rows whatever their number. Stopping one of them ends all after the same step; if one fails, all fail,
   * the others with a `RunError` `rank-failed`.
   */
  ranks?: Ranks
}

/**
 * The options of `train` that do not depend on the method: the options of `mora train` in camelCase, callbacks and ranks. `map` gets
 * rows of the type `Row` and returns rows of the type `Mapped`.
 */
export interface RunOptions<Row = AnyRow, Mapped = unknown>
  extends Omit<TrainInput, 'method' | OptionOfMethod | keyof CallOptions>,
    RowChoices<Row, Mapped>,
    CallOptions {}

interface OwnMethod<Own extends OptionFields> {
  /**
   * A method of your own or of another package (see `node-mora/adapters`). It is also registered, so that its adapters can be
   * loaded. A resumed run needs it again.
   */
  method: AdapterMethod<AdapterConfigBase, Own>
}
/** A method whose type does not name its options (`AdapterMethod<Config>`, without `typeof fields`) has none here. */
type OwnOptions<Own extends OptionFields> = string extends keyof Own
  ? NoFields
  : { readonly [Name in keyof Own]?: z.input<Own[Name]> }
type NoFields = { readonly [Name in never]: never }

/**
 * Options of `train`: `RunOptions`, and as `method` either a name, with the `MethodOptions` of that method, or a method of your own,
 * with its options `Own`.
 */
export type TrainOptions<Own extends OptionFields = NoFields, Row = AnyRow, Mapped = unknown> = RunOptions<
  Row,
  Mapped
> &
  MethodOf<Own>
type MethodOf<Own extends OptionFields> = MethodInput | (OwnMethod<Own> & OwnOptions<NoInfer<Own>>)

const aModel = expecting('a model (loadModel and initModel give one)', z.instanceof(Model))
const anObjective = having('an objective', 'name', 'loss')
const trainArguments = {
  options: optionsSchema('the options of train', {
    onEvent: aFunction.optional(),
    signal: aSignal.optional(),
    ranks: someRanks.optional(),
    ...rowChoiceKinds,
  }),
}

/** Trains with an objective that brings its own rows, such as the prompts of `grpo`. */
export function train<Own extends OptionFields = NoFields>(
  model: Model,
  options: Omit<RunOptions, 'data'> & MethodOf<Own> & { objective: Objective },
): Run
/**
 * Trains a model: its active adapter, a new one, the one in the folder `adapter`, or (method `full`) every weight. The
 * options are the options of `mora train` in camelCase; `data` is required.
 *
 * Returns at once. Iterate the run to receive its events, pass `onEvent`, or just `await run.finished`. Throws a `UsageError`
 * at once for invalid options, and the reason of a `signal` that is already aborted; any other failure rejects `finished` (and
 * `started`, if it comes before the first step) and ends the iteration.
 *
 * ```ts
 * import { loadModel, train } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const run = train(model, { method: 'mora', rank: 8, data: 'train.jsonl', output: 'trained', maxSteps: 4 })
 * for await (const event of run) if (event.type === 'step') console.log(event.step, event.loss)
 * const { steps, tokensPerSecond } = await run.finished
 * ```
 */
export function train<Own extends OptionFields = NoFields, Data extends DataInput = DataInput, Mapped = RowOf<Data>>(
  model: Model,
  options: TrainOptions<Own, RowOf<Data>, Mapped> & { data: Data },
): Run
export function train(model: Model, options: Omit<TrainOptions, 'data'>): Run {
  check({ model }, { model: aModel })
  return trainWith(model, options as TrainOptions)
}

/** Starts a run; `own` replaces parts of it. */
export function trainWith(model: Model, call: TrainOptions, own: RunParts = {}): Run {
  check({ options: call }, trainArguments)
  const { onEvent, signal, learningRate, ranks, method, objective, map, filter, maxTokens, ...given } = call
  signal?.throwIfAborted()
  const values = {
    method: typeof method === 'object' ? method : undefined,
    objective: typeof objective === 'object' ? objective : undefined,
    learningRate: typeof learningRate === 'function' ? learningRate : undefined,
  }
  if (values.method) registerMethod(values.method)
  if (values.objective) check({ objective }, { objective: anObjective })
  const input: TrainInput = {
    ...given,
    data: given.data ?? values.objective?.data,
    method: typeof method === 'object' ? undefined : method,
    objective: typeof objective === 'object' ? undefined : objective,
    learningRate: typeof learningRate === 'function' ? undefined : learningRate,
  }
  const options = resolveTrainOptions(input, values)
  const parts = { objective: values.objective, learningRate: values.learningRate, signal, ranks, ...own }
  return startRun(model, options, { choices: { map, filter, maxTokens }, ...parts }, onEvent)
}

/** Starts a run with checked options, which run.yaml records unchanged. */
export function startRun(model: Model, options: TrainSettings, parts: RunParts, onEvent?: EventCallback): Run {
  const reservation = model.holdForTraining()
  return new Run(
    async (control) => {
      reservation.hold.onDispose(control.stop)
      try {
        return await runTraining(control, { ...parts, ...reservation, model, options })
      } catch (error) {
        await dropFailures(model.device)
        throw error
      } finally {
        reservation.hold.end()
      }
    },
    onEvent,
    parts.signal,
  )
}
