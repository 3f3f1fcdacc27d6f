import type { Batch } from '../../batches/batch.js'
import { type DropoutKey, type NativeDevice, native } from '../../native/addon.js'
import { scaleRows } from '../../tensor/operations/factors.js'
import { scope } from '../../tensor/scope.js'
import { noGrad } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'

/** The strength and the random bits of the noise on the embeddings of a training pass. */
interface EmbeddingNoise {
  readonly alpha: number
  /** Returns the key of a random bit of every value. */
  key(bit: number): DropoutKey['key']
}

/** Random bits of a value: more than a bfloat16 has. */
const BITS = 12

/**
 * Returns noise for the embeddings of a batch, [T, D] float32, uniform between ±α / √(L D) for a document of L tokens (NEFTune, arXiv
 * 2310.05914, algorithm 1). Like a dropout mask it depends on the row and the position of a token, and not on the packing.
 */
export function embeddingNoise(
  { rowKeys, offsets, lengths }: Batch,
  width: number,
  { alpha, key }: EmbeddingNoise,
  device: NativeDevice,
): Tensor {
  const tokens = rowKeys.length
  const bounds = new Float32Array(tokens)
  for (const [document, end] of offsets.subarray(1).entries()) {
    const start = offsets[document]!
    bounds.fill(alpha / Math.sqrt((lengths?.[document] ?? end - start) * width), start, end)
  }
  return noGrad(() =>
    scope(() => {
      const [ones, part, noise] = [1, 2, 3].map(() => Tensor.zeros([tokens, width], { device })) as [
        Tensor,
        Tensor,
        Tensor,
      ]
      native.fill(ones.native, 1)
      const bound = scaleRows(ones, Tensor.from(bounds, [tokens], { device }))
      const keys = Tensor.from(rowKeys, [tokens], { device, dtype: 'int64' })
      for (let bit = 1; bit <= BITS; bit++) {
        // Twice the bound or nothing; the mean is subtracted below.
        native.dropout(bound.native, keys.native, { key: key(bit), probability: 0.5 }, part.native)
        native.add(part.native, noise.native, 2 ** -bit)
      }
      native.add(bound.native, noise.native, 2 ** -BITS - 1)
      return noise
    }),
  )
}
