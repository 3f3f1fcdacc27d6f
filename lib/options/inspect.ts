/** Options of `mora inspect`. */
import { z } from 'zod'
import { OBJECTIVES } from '../objectives/index.js'
import { objectiveFields } from '../objectives/objective-options.js'
import { choice, flag, optionalInteger } from '../schema/option.js'
import { adapterOption, commonOptions, longRowsOption, modelOption, rowOptions } from './common.js'
import { newAdapterFields } from './new-adapter.js'

export const InspectSchema = z.strictObject({
  model: modelOption,
  adapter: adapterOption,
  train: flag('of a model: also show the memory of its weights in training, with and without --quantised'),
  ...newAdapterFields,
  ...rowOptions,
  longRows: longRowsOption,
  objective: choice('of data: the objective whose rows they are', OBJECTIVES, 'sft'),
  labels: objectiveFields.labels,
  maxNewTokens: objectiveFields.maxNewTokens,
  limit: optionalInteger('show the first N rows; more is read only of data that is below 256 KiB or cached', {
    min: 1,
    defaultText: '5; with --json all',
  }),
  ...commonOptions,
})

export type InspectOptions = z.output<typeof InspectSchema>
