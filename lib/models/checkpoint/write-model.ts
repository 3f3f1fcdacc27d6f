import { UsageError } from '../../errors.js'
import { formatOf, type GgufDType, isMixture, type ModelFormat, modelPath } from '../../options/index.js'
import type { WritableModel } from './writable-model.js'
import { writeModelFolder } from './write-folder.js'
import { writeModelGguf } from './write-gguf.js'

export interface WriteModelOptions {
  /** By default, `gguf` for an output that ends with `.gguf`, else `safetensors`. */
  format?: ModelFormat
  /** The dtype of weights; default: the source's, bfloat16 where that is quantised. Mixtures of blocks (`q4_k_m`, …) in GGUF files only. */
  dtype?: GgufDType
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
}

/** Writes a folder in Hugging Face's layout or a GGUF file, and returns its path. */
export async function writeModel(
  model: WritableModel,
  output: string,
  { format: asked, dtype, onTensor }: WriteModelOptions,
): Promise<string> {
  const format = formatOf(output, asked)
  const path = modelPath(output, format)
  if (format === 'gguf') await writeModelGguf(model, path, { dtype, onTensor })
  else if (dtype === undefined || !isMixture(dtype)) await writeModelFolder(model, path, { dtype, onTensor })
  else throw new UsageError('unfit-options', `${dtype} is a dtype of GGUF files: safetensors cannot hold it.`)
  return path
}
