import { UsageError } from '../../errors.js'
import {
  checkTrainOptions,
  optionFacts,
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
  requireOptions(TrainSchema, options, 'api')
  if (typeof options.resume === 'string') options.output ??= runFolderOf(options.resume)
  for (const [name, option] of Object.entries(TrainSchema.shape)) {
    if (options.output !== undefined || !optionFacts(option).needs?.includes('output')) continue
    if (options[name as keyof TrainOptions]) {
      throw new UsageError('unfit-options', `The option ${name} needs a folder to write to: give output.`)
    }
  }
  checkTrainOptions(options, 'api')
  return options
}
