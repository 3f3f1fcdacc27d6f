import { z } from 'zod'
import type { AdapterMethod } from '../../adapters/contract/adapter.js'
import { UsageError } from '../../common/errors.js'
import { TheOption } from '../../common/option-names.js'
import { type ObjectiveName, objectiveNamed } from '../../objectives/index.js'
import type { Objective } from '../../objectives/objective.js'
import {
  checkTrainOptions,
  type Method,
  parseOptions,
  requireOptions,
  type TrainInput,
  TrainSchema,
  type TrainSettings,
} from '../../options/index.js'
import { runFolderOf } from '../checkpoints/resume.js'

/**
 * Checks options of a run and fills in defaults; throws a `UsageError` that names the wrong option. A method from outside the
 * library adds its options; where names are equal, both use the run's option. An objective is recorded by its name and its options.
 */
export function resolveTrainOptions(input: TrainInput, own?: AdapterMethod, objective?: Objective): TrainSettings {
  const schema = own ? z.strictObject({ ...own.options, ...TrainSchema.shape }) : TrainSchema
  const options: TrainSettings = parseOptions(schema, { ...input, ...(objective && recordOf(objective, input)) })
  // A program that resumes only sometimes gives both in any case.
  if (input.resume === false) options.allowChanges = undefined
  if (own) options.method = own.name as Method
  if (objective) options.objective = objective.name as ObjectiveName
  requireOptions(TrainSchema, options)
  if (typeof options.resume === 'string') options.output ??= runFolderOf(options.resume)
  checkTrainOptions(options)
  return options
}

/**
 * Returns the options of a built-in objective, which have the names of the run's; nothing for a custom objective.
 * @throws UsageError for an option given beside the objective, or a custom objective with the name of a built-in one
 */
function recordOf({ name, options }: Objective, input: TrainInput): Objective['options'] {
  const builtIn = objectiveNamed(name)
  if (!builtIn) return undefined
  if (!options) throw new UsageError('bad-value', `There is an objective ${name} already; give yours another name.`)
  const given: Readonly<Record<string, unknown>> = { ...input }
  const beside = Object.keys(builtIn.schema.shape).find((option) => given[option] !== undefined)
  if (beside === undefined) return options
  throw new UsageError(
    'unfit-options',
    `${TheOption(beside)} belongs to the objective, which is given with its options: give it to ${name}({ ${beside} }), or name the objective ('${name}').`,
  )
}
