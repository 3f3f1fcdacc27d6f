/** Parts of a matrix for different uses. Their gradients are written to their places in one gradient, so a backward pass must reach all parts. */
import { native } from '../../native/addon.js'
import { record, recordPart } from '../tape.js'
import { Tensor } from '../tensor.js'
import type { AttentionShape } from './attention.js'
import { withOwnGradient } from './shaped.js'

/** Views of adjacent columns of x, of widths whose sum is x's. */
export function splitColumns(x: Tensor, widths: readonly number[]): Tensor[] {
  const whole = withOwnGradient(x)
  let to = 0
  return widths.map((width) => {
    const from = to
    to += width
    return recordPart(whole, (of) => of.columns(from, from + width))
  })
}

/**
 * Takes apart [T, (2 H + 2 K) E], in which each head's query is followed by a gate of its output: queries, keys and values
 * [T, (H + 2 K) E], and the gates [T, H E].
 */
export function splitGates(x: Tensor, { heads, keyValueHeads, headSize }: AttentionShape): [Tensor, Tensor] {
  const whole = withOwnGradient(x)
  const tokens = x.shape[0]!
  const [queries, others] = [heads * headSize, 2 * keyValueHeads * headSize]
  const pairs = (of: Tensor, which: 0 | 1) =>
    of.view([tokens, heads, headSize], [of.strides[0]!, 2 * headSize, 1], which * headSize)
  const rest = (of: Tensor, from: number) => of.columns(from, from + others)
  const byHead = (part: Tensor) => part.view([tokens, heads, headSize], [part.strides[0]!, headSize, 1])
  const copied = (from: Tensor, to: Tensor) => native.copy(from.native, to.native, 1)
  const qkv = Tensor.empty([tokens, queries + others], x)
  copied(pairs(x, 0), byHead(qkv))
  copied(rest(x, 2 * queries), rest(qkv, queries))
  const gates = Tensor.empty([tokens, queries], x)
  copied(pairs(x, 1), byHead(gates))
  return [
    record(qkv, [whole], [], (dY, _, [dX]) =>
      dX!.write((target) => {
        copied(byHead(dY), pairs(target, 0))
        copied(rest(dY, queries), rest(target, 2 * queries))
      }),
    ),
    record(gates, [whole], [], (dY, _, [dX]) => dX!.write((target) => copied(byHead(dY), pairs(target, 1)))),
  ]
}
