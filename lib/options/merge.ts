/** Options of `mora merge`. */
import { z } from 'zod'
import { adapterOptions, commonOptions, modelOption } from './common.js'
import { choice, flag, optionalChoice, text } from './option.js'

export const MergeSchema = z.strictObject({
  model: modelOption,
  ...adapterOptions,
  output: text('folder that the merged model is written to', 'O', { expects: 'the path of a folder' }),
  format: optionalChoice('file format of the merged model', ['safetensors'], {
    later: ['gguf'],
    defaultText: 'safetensors',
  }),
  overwrite: flag('replace a folder that is not empty'),
  ...commonOptions,
  dtype: choice(
    "dtype of the merged weights; auto is the source's, bfloat16 if that is quantised",
    ['auto', 'float32', 'bfloat16', 'float16'],
    'auto',
  ),
})

export type MergeOptions = z.output<typeof MergeSchema>
export type MergeInput = z.input<typeof MergeSchema>
