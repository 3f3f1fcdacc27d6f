/** How a model is written, and where. */
import { join } from 'node:path'
import { flag } from '../schema/option.js'

/** A folder in Hugging Face's layout, or one GGUF file. */
export const MODEL_FORMATS = ['safetensors', 'gguf'] as const
export type ModelFormat = (typeof MODEL_FORMATS)[number]

/** Block formats of GGUF files as llama.cpp names their mixtures. */
export const GGUF_MIXTURES = ['q8_0', 'q6_k', 'q5_k_m', 'q4_k_m', 'iq4_xs', 'q4_0'] as const
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

export const overwriteOutput = flag('replace a folder that is not empty, or a file', false, { scope: 'call' })

/** The format asked for, or that of an output's name. */
export function formatOf(output: string, format?: ModelFormat): ModelFormat {
  return format ?? (isGguf(output) ? 'gguf' : 'safetensors')
}

/** The file or folder that a model is written to: of GGUF, `model.gguf` in an output that does not end with `.gguf`. */
export function modelPath(output: string, format: ModelFormat): string {
  return format === 'gguf' && !isGguf(output) ? join(output, 'model.gguf') : output
}

function isGguf(path: string): boolean {
  return /\.gguf$/i.test(path)
}
