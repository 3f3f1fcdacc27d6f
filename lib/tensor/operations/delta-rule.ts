import { type NativeTensor, native } from '../../native/addon.js'
import { addingTo, storeOrDrop } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Heads of a gated delta net: key heads, each for the same number of adjacent value heads, and their sizes. */
export interface DeltaShape {
  readonly keyHeads: number
  readonly valueHeads: number
  readonly keySize: number
  readonly valueSize: number
}

/** The states [documents, H, Dk, Dv] float32 that documents start from (null: 0), and that they end with (null: not needed). */
interface DeltaStates {
  readonly start: Tensor | null
  readonly final: Tensor | null
}

/**
 * The gated delta rule (arXiv 2412.06464) over packed documents: qkv [T, 2 K Dk + H Dv] → [T, H Dv], with the gates of
 * `deltaGates` and the documents' starts, offsets [B + 1] int32. Queries and keys are first divided by their norms. No gradients flow to states.
 */
export function gatedDeltaRule(
  qkv: Tensor,
  gates: Tensor,
  shape: DeltaShape,
  offsets: Tensor,
  states: DeltaStates = { start: null, final: null },
): Tensor {
  const { valueHeads, keySize, valueSize } = shape
  const tokens = qkv.shape[0]!
  // rmsNorm divides by the root of the mean of squares, not of their sum: weightOffset corrects that.
  const norm = { weightOffset: 1 / Math.sqrt(keySize), epsilon: 1e-6 / keySize }
  const weight = Tensor.zeros([keySize], { device: qkv.device })
  const [qk, v] = splitDelta(qkv, shape)
  const normed = Tensor.empty(qk.shape, qkv)
  const rstd = Tensor.empty(qk.shape.slice(0, -1), { device: qkv.device })
  native.rmsNorm({ x: qk.native, weight: weight.native, ...norm, y: normed.native, rstd: rstd.native })
  const y = Tensor.empty([tokens, valueHeads * valueSize], qkv)
  const byHead = (tensor: Tensor) => tensor.view([tokens, valueHeads, valueSize])
  const operandsOf = (heads: Tensor, values: Tensor, ofGates: Tensor, starts: Tensor) => ({
    ...queriesAndKeys(heads),
    v: values.native,
    g: part(ofGates, 0).native,
    beta: part(ofGates, 1).native,
    offsets: starts.native,
    state: states.start?.native ?? null,
  })
  native.gatedDeltaRule({
    ...operandsOf(normed, v, gates, offsets),
    y: byHead(y).native,
    finalState: states.final?.native ?? null,
  })
  const saved = [qkv, gates, offsets, normed, rstd, weight]
  return record(y, [qkv, gates], saved, (dY, [input, ofGates, starts, heads, r, w], [dQkv, dGates]) => {
    const [x, values] = splitDelta(input!, shape)
    storeOrDrop(dQkv!, input!, (target) => {
      const [[dX, dV], dNormed] = [splitDelta(target, shape), Tensor.empty(heads!.shape, heads!)]
      const { q: dQ, k: dK } = queriesAndKeys(dNormed)
      storeOrDrop(dGates!, ofGates!, (gradient) =>
        native.gatedDeltaRuleBackward({
          ...operandsOf(heads!, values, ofGates!, starts!),
          dY: byHead(dY).native,
          dQ,
          dK,
          dV: dV.native,
          dG: part(gradient, 0).native,
          dBeta: part(gradient, 1).native,
        }),
      )
      native.rmsNormBackward({
        dY: dNormed.native,
        x: x.native,
        weight: w!.native,
        weightOffset: norm.weightOffset,
        rstd: r!.native,
        dX: dX.native,
      })
    })
  })
}

/**
 * The gates [2, T, H] float32 of a gated delta net: g = -e^logRate · softplus(a + bias), the logarithm of the state's decay at
 * a token, and beta = sigmoid(b), the strength of its write. a, b [T, H]; logRate, bias [H] float32.
 */
export function deltaGates(a: Tensor, b: Tensor, logRate: Tensor, bias: Tensor): Tensor {
  const gates = Tensor.empty([2, ...a.shape], { device: a.device })
  const halves = (tensor: Tensor) => ({ g: part(tensor, 0).native, beta: part(tensor, 1).native })
  native.deltaGates({ a: a.native, b: b.native, logRate: logRate.native, bias: bias.native, ...halves(gates) })
  // A view, because a node that saves its own output is never freed.
  const saved = [a, logRate, bias, gates.view(gates.shape)]
  return record(gates, [a, b, logRate, bias], saved, (dY, [input, rate, shift, result], [dA, dB, dRate, dBias]) => {
    const [{ g: dG, beta: dBeta }, { g, beta }] = [halves(dY), halves(result!)]
    const gradients = { dLogRate: addingTo(dRate!), dBias: addingTo(dBias!) }
    storeOrDrop(dA!, input!, (intoA) =>
      storeOrDrop(dB!, input!, (intoB) =>
        native.deltaGatesBackward({
          dG,
          dBeta,
          a: input!.native,
          logRate: rate!.native,
          bias: shift!.native,
          g,
          beta,
          dA: intoA.native,
          dB: intoB.native,
          ...gradients,
        }),
      ),
    )
  })
}

/** Views of q and k together [T, 2 K, Dk], and of v [T, H, Dv], in one matrix of rows [q | k | v]. */
function splitDelta(qkv: Tensor, { keyHeads, valueHeads, keySize, valueSize }: DeltaShape): [Tensor, Tensor] {
  const [tokens, stride] = [qkv.shape[0]!, qkv.strides[0]!]
  return [
    qkv.view([tokens, 2 * keyHeads, keySize], [stride, keySize, 1]),
    qkv.view([tokens, valueHeads, valueSize], [stride, valueSize, 1], 2 * keyHeads * keySize),
  ]
}

/** The halves [T, K, Dk] of heads [T, 2 K, Dk]. */
function queriesAndKeys(heads: Tensor): { q: NativeTensor; k: NativeTensor } {
  const [tokens, count, size] = heads.shape as [number, number, number]
  const of = (from: number) => heads.view([tokens, count / 2, size], heads.strides, from * size).native
  return { q: of(0), k: of(count / 2) }
}

/** Part i of a tensor along its first dimension. */
function part(tensor: Tensor, i: number): Tensor {
  return tensor.view(tensor.shape.slice(1), tensor.strides.slice(1), i * tensor.strides[0]!)
}
