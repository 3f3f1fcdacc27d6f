import { native } from '../../native/addon.js'
import { addingTo, writeOrDrop } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** RMSNorm over each head (weight [E], or none: all are 1) or over all heads of a part together (weight [heads · E]). */
interface HeadNorm {
  readonly weight: Tensor | null
  readonly epsilon: number
  readonly weightOffset: number
}

/** Heads that are normed alike. */
export interface HeadPart {
  /** The first head in the input; several parts of the result may have the same heads. */
  readonly from: number
  readonly heads: number
  /** The norm of these heads; null: they are copied. */
  readonly norm: HeadNorm | null
}

/** Norms heads of x [T, heads · E], in new memory: the parts side by side, which cover x. Weights are float32. */
export function normHeads(x: Tensor, headSize: number, parts: readonly HeadPart[]): Tensor {
  const tokens = x.shape[0]!
  const headsOf = (tensor: Tensor, from: number, heads: number) =>
    tensor.view([tokens, heads, headSize], [tensor.strides[0]!, headSize, 1], from * headSize)
  const before = (count: number) => parts.slice(0, count).reduce((sum, { heads }) => sum + heads, 0)
  const inputs = (tensor: Tensor) => parts.map(({ from, heads }) => headsOf(tensor, from, heads))
  const results = (tensor: Tensor) => parts.map(({ heads }, i) => headsOf(tensor, before(i), heads))
  const y = Tensor.empty([tokens, headSize * before(parts.length)], x)
  const [from, to] = [inputs(x), results(y)]
  const normed = parts.flatMap(({ norm }, i) => {
    if (norm === null) {
      native.copy(from[i]!.native, to[i]!.native, 1)
      return []
    }
    const weight = norm.weight ?? ones(headSize, x)
    const [rows, target] = [rowsOf(from[i]!, weight), rowsOf(to[i]!, weight)]
    const rstd = Tensor.empty(rows.shape.slice(0, -1), { device: x.device })
    const { weightOffset, epsilon } = norm
    native.rmsNorm({
      x: rows.native,
      weight: weight.native,
      weightOffset,
      epsilon,
      y: target.native,
      rstd: rstd.native,
    })
    return [{ part: i, weight, weightOffset, rstd }]
  })
  const weights = normed.map(({ weight }) => weight)
  const saved = [x, ...weights, ...normed.map(({ rstd }) => rstd)]
  return record(y, [x, ...weights], saved, (dY, [input, ...rest], [dX, ...dWeights]) => {
    const weightGradients = dWeights.map((target) => addingTo(target))
    const [heads, dNormed] = [inputs(input!), results(dY)]
    writeOrDrop(dX!, input!, (target, add) => {
      const gradients = inputs(target)
      for (const [i, { from: first, norm }] of parts.entries()) {
        const accumulate = add || parts.slice(0, i).some((other) => other.from === first)
        const at = normed.findIndex(({ part }) => part === i)
        if (norm === null) {
          if (accumulate) native.add(dNormed[i]!.native, gradients[i]!.native, 1)
          else native.copy(dNormed[i]!.native, gradients[i]!.native, 1)
          continue
        }
        const weight = rest[at]!
        const [dYn, xn, dXn] = [dNormed, heads, gradients].map((views) => rowsOf(views[i]!, weight).native)
        native.rmsNormBackward({
          dY: dYn!,
          x: xn!,
          weight: weight.native,
          weightOffset: norm.weightOffset,
          rstd: rest[normed.length + at]!.native,
          dX: dXn!,
          accumulate,
          dWeight: weightGradients[at]!,
        })
      }
    })
  })
}

/** Views heads [T, H, E] as the rows that a norm with this weight covers. */
function rowsOf(heads: Tensor, weight: Tensor): Tensor {
  const [tokens, count, size] = heads.shape as [number, number, number]
  return weight.shape[0] === size ? heads : heads.view([tokens, count * size], [heads.strides[0]!, 1])
}

function ones(size: number, { device }: Tensor): Tensor {
  const weight = Tensor.empty([size], { device })
  native.fill(weight.native, 1)
  return weight
}
