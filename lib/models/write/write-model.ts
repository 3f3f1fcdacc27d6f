import { dirname, resolve } from 'node:path'
import { requireFreeOutput } from '../../io/free-output.js'
import { removeLeftovers } from '../../io/leftovers.js'
import type { FloatDType } from '../../native/addon.js'
import {
  checkWrittenForm,
  type GgufDType,
  type ModelFormat,
  modelPath,
  outputFormat,
  type WrittenQuantiseFormat,
} from '../formats.js'
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

/** Where a written model may go. */
export interface Replacing {
  /**
   * Replaces a model in the folder, whose other files stay, or the file. Otherwise a file that exists and a folder that is not
   * empty are refused.
   */
  overwrite?: boolean
}

interface WriteModelOptions extends WrittenForm {
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
  /** Called with a message that names weights whose importance is missing. */
  onWarning?: (message: string) => void
}

/**
 * Checks that a model may be written, before the work begins. What a killed process moved away is put back first.
 * @throws UsageError what `requireFreeOutput` throws
 */
export async function requireFreeModelOutput(
  output: string,
  { format: requested, ...around }: Pick<WrittenForm, 'format'> & Parameters<typeof requireFreeOutput>[2],
): Promise<void> {
  const format = outputFormat(output, requested)
  const path = modelPath(output, format)
  await removeLeftovers(dirname(resolve(path)))
  requireFreeOutput(format === 'gguf' ? 'file' : 'model', path, around)
}

/** Writes a folder in Hugging Face's layout or a GGUF file, and returns its path. */
export async function writeModel(
  model: WritableModel,
  output: string,
  { format: requested, dtype, quantise, imatrix, onTensor, onWarning }: WriteModelOptions,
): Promise<string> {
  const format = outputFormat(output, requested)
  checkWrittenForm({ format, dtype, quantise, imatrix })
  const path = modelPath(output, format)
  if (format === 'gguf' && quantise !== 'nf4') {
    const importance = imatrix === undefined ? null : await importanceFor(model.config, imatrix, onWarning)
    await writeModelGguf(model, path, { dtype, quantise, importance, onTensor })
  }
  // `checkWrittenForm` refuses forms that a folder cannot hold.
  else await writeModelFolder(model, path, { dtype: dtype as FloatDType, quantise: quantise as 'nf4', onTensor })
  return path
}
