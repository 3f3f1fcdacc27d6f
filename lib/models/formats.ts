/** Formats and dtypes of weights in files, and the form of a written model. */
import { join } from 'node:path'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'

/** A folder in Hugging Face's layout, or one GGUF file. */
export const MODEL_FORMATS = ['safetensors', 'gguf'] as const
/** Format of a written model: a folder of safetensors, or one GGUF file. */
export type ModelFormat = (typeof MODEL_FORMATS)[number]

/** Block formats of GGUF files as llama.cpp names their mixtures. */
export const GGUF_MIXTURES = ['q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'iq4_xs', 'q4_0'] as const
/**
 * llama.cpp's names of quantised files: most matrices have the format of the name, some a more precise one.
 */
export type GgufMixture = (typeof GGUF_MIXTURES)[number]

/** Dtypes in which weights are written; `auto` is the source's. */
export const WRITTEN_DTYPES = ['auto', 'float32', 'bfloat16', 'float16', ...GGUF_MIXTURES] as const
/** Dtypes of a written GGUF file; a folder has floats. */
export type GgufDType = 'float32' | 'bfloat16' | 'float16' | GgufMixture

export function isMixture(dtype: (typeof WRITTEN_DTYPES)[number]): dtype is GgufMixture {
  return (GGUF_MIXTURES as readonly string[]).includes(dtype)
}

/** Formats to which a model's floats can be quantised while loading. */
export const QUANTISE_FORMATS = ['nf4', 'q8_0', 'q4_0', 'q4_k', 'mxfp4'] as const
export type QuantiseFormat = (typeof QUANTISE_FORMATS)[number]

/** Formats in which linear layers can be written: one of these, or one of llama.cpp's mixtures. */
export const WRITTEN_QUANTISE_FORMATS = [...QUANTISE_FORMATS, 'q6_k', 'q5_k_m', 'q4_k_m', 'iq4_xs'] as const
export type WrittenQuantiseFormat = (typeof WRITTEN_QUANTISE_FORMATS)[number]

/** Whether all layers get the same format, unlike in a mixture. */
export function isOneFormat(quantise: WrittenQuantiseFormat): quantise is QuantiseFormat {
  return QUANTISE_FORMATS.some((format) => format === quantise)
}

/** Formats to which the weights of a GGUF file can be quantised. */
export type GgufQuantiseFormat = Exclude<WrittenQuantiseFormat, 'nf4'>

/** The form of a written model; `dtype` and `quantise` concern its weights. */
interface ModelForm {
  format: ModelFormat
  dtype?: (typeof WRITTEN_DTYPES)[number] | undefined
  quantise?: WrittenQuantiseFormat | undefined
  imatrix?: string | undefined
}

/**
 * Throws a `UsageError` if parts of a form exclude each other, or if the output would equal the model `from`: without an adapter, only
 * the form can change.
 */
export function checkWrittenForm(
  { format, dtype = 'auto', quantise, imatrix }: ModelForm,
  from?: { model: string; adapter?: string | undefined },
): void {
  if (from && from.adapter === undefined && dtype === 'auto' && quantise === undefined) {
    const isFile = isGguf(from.model) || from.model.includes(':')
    if (isFile === (format === 'gguf')) {
      const [given, ...others] = ['adapter', 'format', 'dtype', 'quantise'].map((name) => optionName(name))
      throw new UsageError(
        'missing-option',
        `Without ${given} the model would be written unchanged: give ${given}, or the form to write (${others.join(', ')}).`,
      )
    }
  }
  const refuse = (option: string, value: string, why: string) => {
    const names = [optionName(option), optionName('format')]
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
  const [given, ...needed] = ['imatrix', 'quantise', 'dtype'].map((name) => optionName(name))
  throw new UsageError(
    'unfit-options',
    `${given} needs ${needed[0]}, or a mixture of blocks as ${needed[1]}: floats are not quantised.`,
  )
}

/** Returns the given format, or else that of the output's name. */
export function outputFormat(output: string, format?: ModelFormat): ModelFormat {
  return format ?? (isGguf(output) ? 'gguf' : 'safetensors')
}

/** Returns the path of a written model: for GGUF, `model.gguf` inside an output that does not end with `.gguf`. */
export function modelPath(output: string, format: ModelFormat): string {
  return format === 'gguf' && !isGguf(output) ? join(output, 'model.gguf') : output
}

function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path)
}
