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

/** The form in which a model is written. */
export interface WrittenForm {
  /** Default by the output's extension: `gguf` for `.gguf`, else `safetensors`. */
  format?: ModelFormat
  /**
   * The dtype of weights; default: the source's, in a folder each weight's own, or bfloat16 if that is quantised. Mixtures of
   * blocks (`q4_k_m`, …) in GGUF files only.
   */
  dtype?: GgufDType
  /**
   * The format that the blocks' linear layers are quantised to, while all else is written in `dtype`: `nf4` in a folder, others
   * in a GGUF file. A mixture has rules for each layer's format; matrices whose rows do not fill blocks stay floats.
   */
  quantise?: WrittenQuantiseFormat
  /**
   * A file with the importance of columns, as `importanceMatrix` and llama.cpp write it, by which quantising to GGUF blocks
   * weighs errors.
   */
  imatrix?: string
}

export interface WriteModelOptions extends WrittenForm {
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
  /** Called with a message that names weights whose importance is missing. */
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
