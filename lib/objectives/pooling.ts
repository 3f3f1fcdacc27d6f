/** Embeddings of texts: their hidden states, pooled and scaled to length 1. */
import { type Batch, boundsOf } from '../batches/batch.js'
import { packBatch } from '../batches/packing.js'
import { type Pooling, type PoolingOfModel, poolingOf } from '../nn/pooling.js'
import { add, cast, div, sqrt, square } from '../tensor/operations/arithmetic.js'
import { matmul } from '../tensor/operations/products.js'
import { sum } from '../tensor/operations/reductions.js'
import { scope } from '../tensor/scope.js'
import { withRecording } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { type ForwardModel, lastRows } from './objective.js'

/** Returns the embedding of each document after the final norm, [B, D] float32 of length 1; without padding. */
export async function pooledStates(
  model: Pick<ForwardModel, 'forwardAsync'>,
  batch: Batch,
  pooling: Pooling,
  gradients: boolean,
): Promise<Tensor> {
  const states = await model.forwardAsync(batch, { rows: pooling === 'last' ? lastRows(batch) : 'all', gradients })
  try {
    return withRecording(gradients, () =>
      scope(() => {
        const hidden = cast(states.hidden, 'float32')
        const pooled = pooling === 'last' ? hidden : matmul(meansOver(batch, hidden), hidden)
        // As in PyTorch's normalize, no length is zero.
        return div(pooled, add(sqrt(sum(square(pooled), 1, true)), 1e-12))
      }),
    )
  } finally {
    states.dispose()
  }
}

/**
 * Returns the embedding [D] of each text, of length 1, in one forward pass.
 * @param pooling by default as the model says
 * @throws UsageError `unsupported-option` where the model's files pool in another way
 */
export async function embedded(
  model: Pick<ForwardModel, 'forwardAsync'> & PoolingOfModel,
  texts: readonly { ids: ArrayLike<number> }[],
  pooling: Pooling = poolingOf(model),
): Promise<Float32Array[]> {
  const batch = packBatch(texts.map(({ ids }, row) => ({ ids, mask: new Uint8Array(ids.length), row })))
  using states = await pooledStates(model, batch, pooling, false)
  const values = (await states.data()) as Float32Array
  const width = values.length / texts.length
  return texts.map((_, i) => values.slice(i * width, (i + 1) * width))
}

/** The matrix [B, T] that takes the mean of each document's tokens. */
function meansOver(batch: Batch, { device }: Tensor): Tensor {
  const { rows: documents, ids } = batch
  const weights = new Float32Array(documents * ids.length)
  for (let document = 0; document < documents; document++) {
    const [start, end] = boundsOf(batch, document)
    const from = document * ids.length
    weights.fill(1 / (end - start), from + start, from + end)
  }
  return Tensor.from(weights, [documents, ids.length], { device })
}
