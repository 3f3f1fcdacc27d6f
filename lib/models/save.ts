import type { FloatDType } from '../native.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'
import { writeModelFolder } from './write-folder.js'

/**
 * Writes a model in Hugging Face's layout. Frozen weights are read again from their file in float32, and merged adapters
 * are added, so that the sum is rounded once.
 */
export async function saveModel(model: Model, folder: string, { dtype }: { dtype?: FloatDType }): Promise<void> {
  const { config, tokenizer, source, device, adapterSet } = model
  const fill = (name: string, values: Tensor): void => adapterSet.merged.fill(model.slot(name), values)
  await writeModelFolder({ config, tokenizer, source, device, fill }, folder, { dtype })
}
