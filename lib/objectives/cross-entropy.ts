import { loadDataset } from '../data/dataset.js'
import type { Objective } from './objective.js'

/** Supervised fine-tuning and pretraining: the mean cross-entropy of the target tokens. */
export const crossEntropyObjective: Objective = {
  metrics: [],
  smallRow: [{ ids: Int32Array.of(0, 0), mask: Uint8Array.of(1, 1) }],
  load: loadDataset,
  async loss(model, batch, options) {
    const { loss, targetTokens } = await model.lossAsync(batch, options)
    return { loss, weight: targetTokens }
  },
}
