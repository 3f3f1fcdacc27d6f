import { aFunction, instanceOf, optional, requireArgument, requireOptionsOf } from '../arguments.js'
import { generate } from '../generate/index.js'
import { Model } from '../models/index.js'
import { AdamW } from '../optim/adamw.js'
import type { TrainInput } from '../options/index.js'
import type { Parameter } from '../tensor/parameter.js'
import { runTraining } from './recipe.js'
import { type EventCallback, Run } from './run.js'
import { resolveTrainOptions } from './setup/resolve-options.js'
import { setUp, type TrainingParts } from './setup/set-up.js'
import type { TrainableModel } from './trainable.js'

/** Tokens of a sample at most. */
const SAMPLE_TOKENS = 64

/** Options of a run in the library: those of the command line, and a callback. */
export type TrainCall = TrainInput & { onEvent?: EventCallback }

/**
 * Trains a model: its active adapter, a new one, the one in the folder `adapter`, or (method `full`) every weight. The
 * options are those of `mora train`; `data` is required.
 *
 * Returns at once. Iterate the run to see its events, give `onEvent`, or just `await run.finished`. Throws a `UsageError`
 * at once for options that are wrong in themselves; whatever else fails rejects `finished` and ends the iteration.
 */
export function train(model: Model, options: TrainCall): Run {
  requireArgument('model', model, instanceOf(Model, 'a model (loadModel and initModel give one)'))
  requireOptionsOf('the options of train', options, { onEvent: optional(aFunction) })
  return trainWith(model, options, {
    createOptimizer: (parameters, settings) => new AdamW(parameters as readonly Parameter[], settings),
    sample: async (prompt) => {
      const { text } = await generate(model, { prompt, template: options.template, maxNewTokens: SAMPLE_TOKENS })
      return text
    },
  })
}

/** `train`, with other parts. */
export function trainWith(model: TrainableModel, { onEvent, ...input }: TrainCall, parts: TrainingParts): Run {
  const options = resolveTrainOptions(input)
  const held = model.holdForTraining()
  return new Run((control) => runTraining(control, held, () => setUp(model, options, parts)).finally(held.end), onEvent)
}
