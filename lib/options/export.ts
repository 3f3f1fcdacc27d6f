/** Options of `mora export`. */
import { z } from 'zod'
import { WRITTEN_DTYPES } from '../models/formats.js'
import { choice, flag, optionalChoice, optionalInteger, text } from '../schema/option.js'
import { requiredByCommands } from '../schema/option-facts.js'
import { adapterOption, adapterOptions, commonOptions, compareOption, modelOption, overwriteOutput } from './common.js'
import { quantisedOutput } from './merge.js'

const EXPORT_FORMATS = ['peft', 'gguf-lora', 'gguf', 'safetensors'] as const

export const ExportSchema = z.strictObject({
  model: modelOption,
  ...adapterOptions,
  adapter: requiredByCommands(adapterOption),
  format: requiredByCommands(
    optionalChoice(
      'a LoRA for Hugging Face PEFT or llama.cpp (exact for MoRA with the operator sharing, at rank R), or the merged model as `mora merge` writes it',
      EXPORT_FORMATS,
    ),
  ),
  output: requiredByCommands(
    text('folder to write (peft, safetensors) or file (gguf-lora, gguf)', 'O', { expects: 'a path' }),
  ),
  approximateRank: optionalInteger(
    'write the nearest LoRA of this rank if the adapter is not a LoRA, and report the error',
    {
      min: 1,
      defaultText: 'exact, or refused',
    },
  ),
  force: flag('write the nearest LoRA even if its error is above 0.1, which makes it another adapter'),
  ...quantisedOutput,
  compare: compareOption,
  overwrite: overwriteOutput,
  ...commonOptions,
  dtype: choice(
    "dtype of the output; auto is float32 for a LoRA, and the source's for a merged model; blocks (q8_0 to q4_0) with gguf only",
    WRITTEN_DTYPES,
    'auto',
  ),
})

export type ExportOptions = z.output<typeof ExportSchema>
