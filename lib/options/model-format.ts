/** How a model is written, and where. */
import { join } from 'node:path'
import { UsageError } from '../common/errors.js'
import { type OptionSource, optionName } from '../schema/names.js'
import { flag, optionalChoice, text } from '../schema/option.js'

/** A folder in Hugging Face's layout, or one GGUF file. */
export const MODEL_FORMATS = ['safetensors', 'gguf'] as const
/** How a model is written: a folder of safetensors, or one GGUF file. */
export type ModelFormat = (typeof MODEL_FORMATS)[number]

/** Block formats of GGUF files as llama.cpp names their mixtures. */
export const GGUF_MIXTURES = ['q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'iq4_xs', 'q4_0'] as const
/**
 * What llama.cpp calls the formats of a quantised file: most matrices have the format of the name, some a finer one.
 */
export type GgufMixture = (typeof GGUF_MIXTURES)[number]

/** What weights are written as; `auto` is the source's. */
export const WRITTEN_DTYPES = ['auto', 'float32', 'bfloat16', 'float16', ...GGUF_MIXTURES] as const
/** What a GGUF file may hold; a folder has floats. */
export type GgufDType = 'float32' | 'bfloat16' | 'float16' | GgufMixture

export function isMixture(dtype: (typeof WRITTEN_DTYPES)[number]): dtype is GgufMixture {
  return (GGUF_MIXTURES as readonly string[]).includes(dtype)
}

/** What a model's floats can be quantised to while they are loaded. */
export const QUANTISE_FORMATS = ['nf4', 'q8_0', 'q4_0', 'q4_k', 'mxfp4'] as const
export type QuantiseFormat = (typeof QUANTISE_FORMATS)[number]

/** What the blocks' linear layers can be written in: one of these formats, or as one of llama.cpp's mixtures has them. */
export const WRITTEN_QUANTISE_FORMATS = [...QUANTISE_FORMATS, 'q6_k', 'q5_k_m', 'q4_k_m', 'iq4_xs'] as const
export type WrittenQuantiseFormat = (typeof WRITTEN_QUANTISE_FORMATS)[number]

/** Whether all layers get one format, and not what a mixture gives each. */
export function isOneFormat(quantise: WrittenQuantiseFormat): quantise is QuantiseFormat {
  return QUANTISE_FORMATS.some((format) => format === quantise)
}

/** What weights of a GGUF file can be quantised to. */
export type GgufQuantiseFormat = Exclude<WrittenQuantiseFormat, 'nf4'>

/** Options of what writes a merged model. */
export const quantisedOutput = {
  quantise: optionalChoice(
    'write the linear layers in this format, and all else in --dtype: nf4 into a folder, others into a GGUF file',
    WRITTEN_QUANTISE_FORMATS,
    { defaultText: '--dtype' },
  ),
  imatrix: text('importance of columns for what is quantised, as mora imatrix and llama.cpp write it', 'FILE', {
    expects: 'the path of an importance matrix',
  }),
}

/** Refuses types that a format cannot hold. */
export function checkWrittenForm(
  {
    format,
    dtype = 'auto',
    quantise,
    imatrix,
  }: {
    format: ModelFormat
    dtype?: (typeof WRITTEN_DTYPES)[number]
    quantise?: WrittenQuantiseFormat
    imatrix?: string
  },
  source: OptionSource,
): void {
  const refuse = (option: string, value: string, why: string) => {
    const names = [optionName(option, source), optionName('format', source)]
    throw new UsageError('unfit-options', `${names[0]} ${value} does not go with ${names[1]} ${format}: ${why}.`)
  }
  if (format === 'gguf') {
    if (quantise === 'nf4') refuse('quantise', quantise, 'nf4 is a format of folders, and GGUF files have q4_0 or q4_k')
  } else {
    if (isMixture(dtype)) refuse('dtype', dtype, 'it is a type of GGUF files')
    if (quantise !== undefined && quantise !== 'nf4')
      refuse('quantise', quantise, 'it is a format of GGUF files, and folders have nf4')
    if (imatrix !== undefined) refuse('imatrix', imatrix, 'it is for blocks of GGUF files')
  }
  if (imatrix === undefined || quantise !== undefined || isMixture(dtype)) return
  const [given, ...needed] = ['imatrix', 'quantise', 'dtype'].map((name) => optionName(name, source))
  throw new UsageError(
    'unfit-options',
    `${given} needs ${needed[0]}, or a mixture of blocks as ${needed[1]}: floats are not quantised.`,
  )
}

export const overwriteOutput = flag('replace a folder that is not empty, or a file', false, { scope: 'call' })

/** The format asked for, or that of an output's name. */
export function outputFormat(output: string, format?: ModelFormat): ModelFormat {
  return format ?? (isGguf(output) ? 'gguf' : 'safetensors')
}

/** The file or folder that a model is written to: of GGUF, `model.gguf` in an output that does not end with `.gguf`. */
export function modelPath(output: string, format: ModelFormat): string {
  return format === 'gguf' && !isGguf(output) ? join(output, 'model.gguf') : output
}

function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path)
}
