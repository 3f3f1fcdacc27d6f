import { aFunction, aSignal, instanceOf, optional, requireArgument, requireOptionsOf } from '../arguments.js'
import { generate } from '../generate/index.js'
import { Model } from '../models/index.js'
import { AdamW } from '../optim/adamw.js'
import type { TrainInput, TrainOptions } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import { type LearningRate, requireNoSchedule } from './learning-rate.js'
import { type Ranks, someRanks } from './ranks.js'
import { runTraining } from './recipe.js'
import { type EventCallback, Run } from './run.js'
import { resolveTrainOptions } from './setup/resolve-options.js'
import { setUp, type TrainingParts } from './setup/set-up.js'
import type { TrainableModel } from './trainable.js'

/** Tokens of a sample at most. */
const SAMPLE_TOKENS = 64

/** What the library's `train` takes beside the options of `mora train`. */
export interface TrainExtras {
  /** A peak, as on the command line, or a function of the step in place of a schedule. */
  learningRate?: number | LearningRate
  onEvent?: EventCallback
  /**
   * Aborting it ends the run like `stop()`, without the rest of the step or evaluation at work: everything up to the last step
   * is saved, and `finished` and the iteration reject with the signal's reason. Before the first step nothing is written.
   */
  signal?: AbortSignal
  /**
   * The processes that train together, each of which calls `train` with the same model and options; by default one alone. A step
   * takes the same rows however many there are.
   */
  ranks?: Ranks
}

export type TrainCall = Omit<TrainInput, keyof TrainExtras> & TrainExtras

/**
 * Trains a model: its active adapter, a new one, the one in the folder `adapter`, or (method `full`) every weight. The
 * options are those of `mora train`; `data` is required.
 *
 * Returns at once. Iterate the run to see its events, give `onEvent`, or just `await run.finished`. Throws a `UsageError`
 * at once for options that are wrong in themselves, and the reason of a `signal` that is aborted already; whatever else fails
 * rejects `finished` and ends the iteration.
 */
export function train(model: Model, options: TrainCall): Run {
  requireArgument('model', model, instanceOf(Model, 'a model (loadModel and initModel give one)'))
  requireOptionsOf('the options of train', options, { onEvent: optional(aFunction) })
  return trainWith(model, options, partsOf(model, options))
}

/** `train` with the options of a command, which are checked; run.yaml records them as they are. */
export function trainByCommand(model: Model, options: TrainOptions): Run {
  return start(model, options, partsOf(model, options))
}

function partsOf(model: Model, { template, signal }: Pick<TrainCall, 'template' | 'signal'>): TrainingParts {
  return {
    createOptimizer: (parameters, settings) => new AdamW(parameters as readonly Parameter[], settings),
    sample: async (prompt) => {
      const { text } = await generate(model, { prompt, template, maxNewTokens: SAMPLE_TOKENS, signal })
      return text
    },
  }
}

/** `train`, with other parts. */
export function trainWith(
  model: TrainableModel,
  { onEvent, signal, learningRate, ranks, ...others }: TrainCall,
  parts: TrainingParts,
): Run {
  requireArgument('signal', signal, optional(aSignal))
  requireArgument('ranks', ranks, optional(someRanks))
  signal?.throwIfAborted()
  if (typeof learningRate !== 'function') {
    return start(model, resolveTrainOptions({ ...others, learningRate }), { ...parts, signal, ranks }, onEvent)
  }
  requireNoSchedule(others)
  return start(model, resolveTrainOptions(others), { ...parts, learningRate, signal, ranks }, onEvent)
}

function start(model: TrainableModel, options: TrainOptions, parts: TrainingParts, onEvent?: EventCallback): Run {
  const held = model.holdForTraining()
  const begin = () => setUp(model, options, parts)
  return new Run((control) => runTraining(control, held, begin).finally(held.end), onEvent, parts.signal)
}
