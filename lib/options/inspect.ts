/** Options of `mora inspect`. */
import { z } from 'zod'
import { optionalInteger } from '../schema/option.js'
import { adapterOption, commonOptions, modelOption, rowOptions } from './common.js'
import { newAdapterFields } from './new-adapter.js'

export const InspectSchema = z.strictObject({
  model: modelOption,
  adapter: adapterOption,
  ...newAdapterFields,
  ...rowOptions,
  limit: optionalInteger('show the first N rows; the summary is of all', {
    min: 1,
    defaultText: '5; with --json all',
  }),
  ...commonOptions,
})

export type InspectOptions = z.output<typeof InspectSchema>
