import { z } from 'zod'
import type { AdapterMethod } from '../../adapters/contract/adapter.js'
import { UsageError } from '../../common/errors.js'
import { optionName, TheOption } from '../../common/option-names.js'
import type { ObjectiveName } from '../../objectives/index.js'
import type { Objective } from '../../objectives/objective.js'
import {
  checkTrainOptions,
  type Method,
  optionFacts,
  parseOptions,
  requireOptions,
  type TrainInput,
  TrainSchema,
  type TrainSettings,
} from '../../options/index.js'
import { runFolderOf } from '../checkpoints/resume.js'

/**
 * Checks options of a run and fills in defaults; throws a `UsageError` that names the wrong option. A method from outside the
 * library adds its options; where names are equal, both use the run's option. An objective from outside is recorded by its name.
 */
export function resolveTrainOptions(input: TrainInput, own?: AdapterMethod, objective?: Objective): TrainSettings {
  const schema = own ? z.strictObject({ ...own.options, ...TrainSchema.shape }) : TrainSchema
  const options: TrainSettings = parseOptions(schema, input)
  // A program that resumes only sometimes gives both in any case.
  if (input.resume === false) options.allowChanges = undefined
  if (own) options.method = own.name as Method
  if (objective) options.objective = objective.name as ObjectiveName
  requireOptions(TrainSchema, options)
  if (typeof options.resume === 'string') options.output ??= runFolderOf(options.resume)
  for (const [name, option] of Object.entries(TrainSchema.shape)) {
    if (options.output !== undefined || !optionFacts(option).needs?.includes('output')) continue
    if (options[name as keyof TrainSettings]) {
      throw new UsageError(
        'unfit-options',
        `${TheOption(name)} needs a folder to write to: give ${optionName('output')}.`,
      )
    }
  }
  checkTrainOptions(options)
  return options
}
