/** Options of `mora inspect`. */
import { z } from 'zod'
import { OBJECTIVES } from '../objectives/index.js'
import { choice, flag, optionalInteger } from '../schema/option.js'
import { adapterOption, commonOptions, longRowsOption, modelOption, rowOptions } from './common.js'
import { newAdapterFields } from './new-adapter.js'
import { objectiveFields } from './objectives.js'

export const InspectSchema = z.strictObject({
  model: modelOption,
  adapter: adapterOption,
  train: flag("also show the memory of a model's weights in training, with and without --quantised"),
  ...newAdapterFields,
  ...rowOptions,
  longRows: longRowsOption,
  objective: choice('the objective that the rows of --data are for', OBJECTIVES, 'sft'),
  labels: objectiveFields.labels,
  maxNewTokens: objectiveFields.maxNewTokens,
  limit: optionalInteger('show the first N rows; further rows are read only from data below 256 KiB or in the cache', {
    min: 1,
    defaultText: '5; with --json all',
  }),
  ...commonOptions,
})

export type InspectOptions = z.output<typeof InspectSchema>
