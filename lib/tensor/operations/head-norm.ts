import { native } from '../../native/addon.js'
import { addingTo, writeOrDrop } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { type AttentionShape, splitHeads } from './attention.js'

/** RMSNorm over each head (weight [E]) or over all heads of a token together (weight [heads · E]). */
export interface HeadNorm {
  readonly weight: Tensor
  readonly epsilon: number
  readonly weightOffset: number
}

/** Norms the queries and keys of qkv [T, (H + 2K) E], in new memory. Weights are float32. */
export function normHeads(qkv: Tensor, shape: AttentionShape, query: HeadNorm, key: HeadNorm): Tensor {
  const norms = [query, key]
  const y = Tensor.empty(qkv.shape, qkv)
  const [from, to] = [splitHeads(qkv, shape), splitHeads(y, shape)]
  const statistics = norms.map(({ weight, weightOffset, epsilon }, i) => {
    const [x, normed] = [rowsOf(from[i]!, weight), rowsOf(to[i]!, weight)]
    const rstd = Tensor.empty(x.shape.slice(0, -1), { device: qkv.device })
    native.rmsNorm({ x: x.native, weight: weight.native, weightOffset, epsilon, y: normed.native, rstd: rstd.native })
    return rstd
  })
  native.copy(from[2].native, to[2].native, 1)
  const weights = norms.map(({ weight }) => weight)
  return record(y, [qkv, ...weights], [qkv, ...weights, ...statistics], (dY, saved, [dQkv, ...dWeights]) => {
    const [input, ...rest] = saved as [Tensor, ...Tensor[]]
    const weightGradients = dWeights.map(addingTo)
    const [x, dNormed] = [splitHeads(input, shape), splitHeads(dY, shape)]
    writeOrDrop(dQkv!, input, (target, accumulate) => {
      const dX = splitHeads(target, shape)
      for (const [i, { weightOffset }] of norms.entries()) {
        const [weight, rstd] = [rest[i]!, rest[i + 2]!]
        const [g, xn, dXn] = [dNormed, x, dX].map((parts) => rowsOf(parts[i]!, weight).native)
        const into = weightGradients[i]!
        native.rmsNormBackward({
          dY: g!,
          x: xn!,
          weight: weight.native,
          weightOffset,
          rstd: rstd.native,
          dX: dXn!,
          accumulate,
          dWeight: into,
        })
      }
      if (accumulate) native.add(dNormed[2].native, dX[2].native, 1)
      else native.copy(dNormed[2].native, dX[2].native, 1)
    })
  })
}

/** Views heads [T, H, E] as the rows that a norm with this weight covers. */
function rowsOf(heads: Tensor, weight: Tensor): Tensor {
  const [tokens, count, size] = heads.shape as [number, number, number]
  return weight.shape[0] === size ? heads : heads.view([tokens, count * size], [heads.strides[0]!, 1])
}
