import type { FloatDType } from '../native.js'
import { keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'
import { writeModelFolder } from './write-folder.js'

/**
 * Writes a model in Hugging Face's layout. Frozen weights are read again from their file in float32, and merged adapters
 * (with `mergeActive`, active ones too) are added, so that the sum is rounded once.
 */
export async function saveModel(
  model: Model,
  folder: string,
  { dtype, mergeActive = false }: { dtype?: FloatDType; mergeActive?: boolean },
): Promise<void> {
  const { config, tokenizer, source, device, adapterSet } = model
  const fill = (name: string, values: Tensor): void => {
    const slot = model.slot(name)
    adapterSet.merged.fill(slot, values)
    if (!mergeActive) return
    using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' })) // the writer counts them itself
    for (const edit of adapterSet.activeEdits(slot)) edit(values, nonFinite)
  }
  await writeModelFolder({ config, tokenizer, source, device, fill }, folder, { dtype })
}
