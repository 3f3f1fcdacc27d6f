/** Options of `mora inspect`. */
import { z } from 'zod'
import { adapterOption, commonOptions, limitOption, modelOption, rowOptions } from './common.js'

export const InspectSchema = z.strictObject({
  model: modelOption,
  adapter: adapterOption,
  ...rowOptions,
  limit: limitOption('rows'),
  ...commonOptions,
})

export type InspectOptions = z.output<typeof InspectSchema>
export type InspectInput = z.input<typeof InspectSchema>
