/** Options of `mora analyze`. */
import { z } from 'zod'
import { real, text } from '../schema/option.js'
import { adapterOptions, commonOptions, modelOption } from './common.js'

export const AnalyzeSchema = z.strictObject({
  model: modelOption,
  ...adapterOptions,
  base: text('in place of an adapter: the model before training, to compare --model with', 'M', {
    expects: 'the path or hub id of a model',
    hub: 'model',
    needs: ['model'],
  }),
  threshold: real('count singular values above this', 0.1, { min: 0 }),
  plot: text('write a plot of the singular values to this file, as SVG', 'FILE', { expects: 'the path of a file' }),
  ...commonOptions,
})
