/** Rotations R of skew-symmetric matrices Q [blocks, b, b], and their gradients. */
import { native } from '../../native.js'
import { Tensor } from '../../tensor/tensor.js'

export interface Rotations {
  /** R − I [blocks, b, b]: what a rotation changes, without what I would round away. */
  readonly change: Tensor
  /** The gradient of Q from that of R. */
  backward(dRotation: Tensor): Tensor
}

/** The exact rotation (I − Q)(I + Q)⁻¹ = 2 (I + Q)⁻¹ − I (Cayley). */
export function blocksByCayley(q: Tensor): Rotations {
  const inverse = inverseOf(q)
  // R − I = −2 Q (I + Q)⁻¹
  const change = product(q, false, inverse, false, -2)
  return {
    change,
    backward: (dRotation) => product(product(inverse, true, dRotation, false, 1), false, inverse, true, -2),
  }
}

/** I + 2 Q + … + 2 Qⁿ⁻¹ + Qⁿ, the Cayley–Neumann series as PEFT cuts it off: n is `terms` − 1, and 3 for 3 terms. */
export function blocksBySeries(q: Tensor, terms: number): Rotations {
  const last = terms === 2 ? 1 : Math.max(terms, 4) - 1
  const factorOf = (power: number): number => (power === last && last > 1 ? 1 : 2)
  // From the inside, Sᵢ = cᵢ I + Q Sᵢ₊₁, and R − I = Q S₁.
  const inner: Tensor[] = [scaledIdentity(q, factorOf(last))]
  for (let power = last - 1; power >= 1; power--) {
    const next = scaledIdentity(q, factorOf(power))
    native.matmul({ a: q.native, b: inner[0]!.native, c: next.native, accumulate: true })
    inner.unshift(next)
  }
  return {
    change: product(q, false, inner[0]!, false, 1),
    backward(dRotation) {
      const dQ = Tensor.zeros(q.shape, q)
      let gradient = dRotation
      for (const factor of inner) {
        native.matmul({ a: gradient.native, b: factor.native, transposeB: true, c: dQ.native, accumulate: true })
        gradient = product(q, true, gradient, false, 1)
      }
      return dQ
    },
  }
}

/**
 * M⁻¹ of M = I + Q by Newton's iteration X ← X (2 I − M X) from Mᵀ / (1 + ‖Q‖²): the distance to I is squared each time, from
 * ‖Q‖² / (1 + ‖Q‖²) on, so sixteen times reach float32 for a norm up to about 50.
 */
function inverseOf(q: Tensor): Tensor {
  const m = scaledIdentity(q, 1)
  native.add(q.native, m.native, 1)
  let inverse = scaledTranspose(m, q)
  for (let i = 0; i < 16; i++) {
    const rest = scaledIdentity(q, 2)
    native.matmul({ a: m.native, b: inverse.native, c: rest.native, alpha: -1, accumulate: true })
    inverse = product(inverse, false, rest, false, 1)
  }
  return inverse
}

/** Mᵀ / (1 + ‖Q‖²) by blocks. */
function scaledTranspose(m: Tensor, q: Tensor): Tensor {
  const [blocks, side] = m.shape as [number, number]
  const width = side * side
  const turned = Tensor.empty(m.shape, m)
  turned.copyFrom(m.view(m.shape, [width, 1, side]))
  const [rows, ones] = [turned.view([blocks, width]), Tensor.empty([width], m)]
  native.fill(ones.native, 1)
  // RMSNorm's 1 / √(mean of squares + ε) is b / √(1 + ‖Q‖²) with ε = 1 / b²; rows are multiplied by it twice.
  const inverse = Tensor.empty([blocks], m)
  native.rmsNorm({
    x: q.view([blocks, width]).native,
    weight: ones.native,
    weightOffset: 0,
    epsilon: 1 / width,
    rstd: inverse.native,
  })
  const half = Tensor.empty(rows.shape, m)
  native.rmsNormApply(rows.native, ones.native, 0, inverse.native, half.native)
  native.fill(ones.native, 1 / width)
  native.rmsNormApply(half.native, ones.native, 0, inverse.native, rows.native)
  return turned
}

function product(a: Tensor, transposeA: boolean, b: Tensor, transposeB: boolean, scale: number): Tensor {
  const result = Tensor.empty(a.shape, a)
  native.matmul({ a: a.native, transposeA, b: b.native, transposeB, c: result.native, alpha: scale })
  return result
}

/** value · I [blocks, b, b] */
function scaledIdentity({ shape, device }: Tensor, value: number): Tensor {
  const [blocks, side] = shape as [number, number]
  const identity = Tensor.zeros(shape, { device })
  native.fill(identity.view([blocks, side], [side * side, side + 1]).native, value)
  return identity
}
