import type { FloatDType } from '../../native/addon.js'
import {
  checkWrittenForm,
  type GgufDType,
  type ModelFormat,
  modelPath,
  outputFormat,
  type WrittenQuantiseFormat,
} from '../../options/index.js'
import { importanceFor } from '../quantise/importance.js'
import type { WritableModel } from './writable-model.js'
import { writeModelFolder } from './write-folder.js'
import { writeModelGguf } from './write-gguf.js'

/** In what form a model is written. */
export interface WrittenForm {
  /** By default what the output ends with: `gguf` for `.gguf`, else `safetensors`. */
  format?: ModelFormat
  /** The dtype of weights; default: the source's, bfloat16 where that is quantised. Mixtures of blocks (`q4_k_m`, …) in GGUF files only. */
  dtype?: GgufDType
  /**
   * The format that linear layers of the blocks are quantised to, while all else is written in `dtype`: `nf4` in a folder, others in
   * a GGUF file. A mixture's rules say the format of each layer; rows that fill no blocks stay floats.
   */
  quantise?: WrittenQuantiseFormat
  /**
   * A file with the importance of columns, as `importanceMatrix` and llama.cpp write it: quantising to blocks of a GGUF file then
   * weighs errors by it.
   */
  imatrix?: string
}

export interface WriteModelOptions extends WrittenForm {
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
  /** Told which weights' importance is missing. */
  onWarning?: (message: string) => void
}

/** Writes a folder in Hugging Face's layout or a GGUF file, and returns its path. */
export async function writeModel(
  model: WritableModel,
  output: string,
  { format: asked, dtype, quantise, imatrix, onTensor, onWarning }: WriteModelOptions,
): Promise<string> {
  const format = outputFormat(output, asked)
  checkWrittenForm({ format, dtype, quantise, imatrix }, 'api')
  const path = modelPath(output, format)
  if (format === 'gguf' && quantise !== 'nf4') {
    const importance = imatrix === undefined ? null : await importanceFor(model.config, imatrix, onWarning)
    await writeModelGguf(model, path, { dtype, quantise, importance, onTensor })
  }
  // `checkWrittenForm` refuses forms that a folder cannot hold.
  else await writeModelFolder(model, path, { dtype: dtype as FloatDType, quantise: quantise as 'nf4', onTensor })
  return path
}
