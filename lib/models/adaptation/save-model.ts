import { aFlag, aText, described, oneOf, optional, requireArgument, requireOptionsOf } from '../../arguments.js'
import { type GgufDType, MODEL_FORMATS, type ModelFormat, WRITTEN_DTYPES } from '../../options/index.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { WritableModel } from '../checkpoint/writable-model.js'
import { writeModel } from '../checkpoint/write-model.js'
import type { WeightSlot } from '../network/weight-slot.js'
import type { AdapterSet } from './adapter-set.js'

export interface SaveOptions {
  /** The dtype of weights; default: the source's, bfloat16 where that is quantised. Mixtures of blocks (`q4_k_m`, …) in GGUF files only. */
  dtype?: GgufDType
  /** By default what the output ends with: `gguf` for `.gguf`, else `safetensors`. */
  format?: ModelFormat
  /** Add active adapters too. */
  mergeActive?: boolean
}

/** A model in memory: its weights' places, and what its adapters add to them. */
export interface SavedModel extends Pick<WritableModel, 'config' | 'tokenizer' | 'source' | 'device'> {
  slot(name: string): WeightSlot
  readonly adapterSet: Pick<AdapterSet, 'fill'>
}

/**
 * Writes a model in Hugging Face's layout, or as a GGUF file. Frozen weights are read again from their file in float32, and
 * merged adapters (with `mergeActive`, active ones too) are added, so that the sum is rounded once.
 */
export async function saveModel(model: SavedModel, output: string, options: SaveOptions): Promise<void> {
  requireArgument('output', output, described(aText, 'the path of a folder or .gguf file'))
  requireOptionsOf('the options of save', options, {
    format: optional(oneOf(...MODEL_FORMATS)),
    mergeActive: optional(aFlag),
    dtype: optional(oneOf(...WRITTEN_DTYPES.filter((dtype) => dtype !== 'auto'))),
  })
  const { dtype, format, mergeActive = false } = options
  const { config, tokenizer, source, device, adapterSet } = model
  const fill = (name: string, values: Tensor): void => adapterSet.fill(model.slot(name), values, mergeActive)
  await writeModel({ config, tokenizer, source, device, fill }, output, { dtype, format })
}
