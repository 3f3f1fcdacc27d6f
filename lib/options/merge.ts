/** Options of `mora merge`. */
import { z } from 'zod'
import { MODEL_FORMATS, WRITTEN_DTYPES, WRITTEN_QUANTISE_FORMATS } from '../models/formats.js'
import { choice, optionalChoice, text } from '../schema/option.js'
import { requiredByCommands } from '../schema/option-facts.js'
import { adapterOptions, commonOptions, compareOption, modelOption, overwriteOutput } from './common.js'

/** Options of commands that write a merged model. */
export const quantisedOutput = {
  quantise: optionalChoice(
    'write the linear layers in this format, and the rest in --dtype: nf4 in a folder, others in a GGUF file',
    WRITTEN_QUANTISE_FORMATS,
    { defaultText: '--dtype' },
  ),
  imatrix: text('importance matrix for quantising, from mora imatrix or llama.cpp', 'FILE', {
    expects: 'the path of an importance matrix',
  }),
}

export const MergeSchema = z.strictObject({
  model: requiredByCommands(modelOption),
  ...adapterOptions,
  output: requiredByCommands(
    text('folder or .gguf file to write the merged model to', 'O', {
      expects: 'the path of a folder or .gguf file',
    }),
  ),
  format: optionalChoice('a folder in the layout of Hugging Face, or one GGUF file', MODEL_FORMATS, {
    defaultText: 'gguf for an output that ends with .gguf, else safetensors',
  }),
  ...quantisedOutput,
  compare: compareOption,
  overwrite: overwriteOutput,
  ...commonOptions,
  dtype: choice(
    "dtype of the merged weights; auto is the source's, or bfloat16 if the source is quantised; blocks (q8_0 to q4_0) in GGUF only",
    WRITTEN_DTYPES,
    'auto',
  ),
})

export type MergeOptions = z.output<typeof MergeSchema>
