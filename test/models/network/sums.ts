/** Sums of backward passes over batches. */
import type { Batch } from '../../../lib/batches/batch.js'
import type { Model } from '../../../lib/models/model.js'

export interface Sums {
  loss: number
  gradients: Map<string, Float32Array>
}

/** Adds losses and gradients over batches. */
export async function accumulated(model: Model, batches: readonly Batch[]): Promise<Sums> {
  let loss = 0
  for (const batch of batches) {
    const part = model.loss(batch)
    await part.loss.backward()
    loss += await part.loss.item()
    part.loss.dispose()
  }
  const gradients = new Map<string, Float32Array>()
  for (const { name, parameter } of model.trainableParameters()) {
    gradients.set(`${gradients.size} ${name}`, await parameter.grad!.data())
    parameter.zeroGrad()
  }
  return { loss, gradients }
}
