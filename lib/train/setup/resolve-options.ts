import { UsageError } from '../../errors.js'
import {
  checkTrainOptions,
  parseOptions,
  requireOptions,
  type TrainInput,
  type TrainOptions,
  TrainSchema,
} from '../../options/index.js'
import { runFolderOf } from '../checkpoints/resume.js'

/** Checks options of a run and fills in defaults; throws a `UsageError` that names what is wrong. */
export function resolveTrainOptions(input: TrainInput): TrainOptions {
  const options = parseOptions(TrainSchema, input, { source: 'api' })
  requireOptions(TrainSchema, options, ['data'], 'api')
  if (typeof options.resume === 'string') options.output ??= runFolderOf(options.resume)
  checkTrainOptions(options, 'api')
  for (const name of ['saveEvery', 'keepCheckpoints', 'keepBest', 'tensorboard', 'resume', 'overwrite'] as const) {
    if (options[name] && options.output === undefined) {
      throw new UsageError('unfit-options', `The option ${name} needs a folder to write to: give output.`)
    }
  }
  return options
}
