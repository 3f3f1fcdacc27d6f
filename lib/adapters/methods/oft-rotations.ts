/** Rotations R from skew-symmetric matrices Q [blocks, b, b], computed as R − I, which avoids the rounding of adding I. */
import { native } from '../../native/addon.js'
import { add, div, mul, square, sub } from '../../tensor/operations/arithmetic.js'
import { scaleRows, transpose } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import { sum } from '../../tensor/operations/reductions.js'
import { reshape } from '../../tensor/operations/reshaping.js'
import { scope } from '../../tensor/scope.js'
import { noGrad, record } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'

/** Returns R − I of the exact rotation for 0 `terms`, else of the Cayley–Neumann series. */
export function rotationChange(q: Tensor, terms: number): Tensor {
  return scope(() => (terms === 0 ? byCayley(q) : bySeries(q, terms)))
}

/** Returns R − I = −2 Q (I + Q)⁻¹ of the exact rotation R = (I − Q)(I + Q)⁻¹ (Cayley). */
function byCayley(q: Tensor): Tensor {
  return mul(product(q, inverse(add(q, identity(q, 1)), q)), -2)
}

/**
 * Returns R − I of R = I + 2 Q + … + 2 Qⁿ⁻¹ + Qⁿ, the Cayley–Neumann series as PEFT truncates it: n is `terms` − 1, and 3 for 3
 * terms.
 */
function bySeries(q: Tensor, terms: number): Tensor {
  const last = terms === 2 ? 1 : Math.max(terms, 4) - 1
  // Horner's scheme: Sᵢ = cᵢ I + Q Sᵢ₊₁, and R − I = Q S₁.
  let inner = identity(q, last > 1 ? 1 : 2)
  for (let power = last - 1; power >= 1; power--) inner = product(q, inner, { onto: identity(q, 2) })
  return product(q, inner)
}

/**
 * Returns M⁻¹ for M = I + Q by Newton's iteration X ← X (2 I − M X) from Mᵀ / (1 + ‖Q‖²): each step squares the distance of M X
 * to I, which is ‖Q‖² / (1 + ‖Q‖²) at first, so sixteen steps reach float32's precision for a norm up to about 50.
 */
function inverse(m: Tensor, q: Tensor): Tensor {
  const found = noGrad(() => {
    const [blocks, side] = m.shape as [number, number]
    const norms = sum(square(q.view([blocks, side * side])), -1)
    let x = reshape(scaleRows(transpose(m).view([blocks, side * side]), div(1, add(norms, 1))), m.shape)
    for (let i = 0; i < 16; i++) x = product(x, sub(identity(m, 2), product(m, x)))
    return x
  })
  return record(found, [m], [found.view(m.shape)], (gradient, [x], [dM]) => {
    dM!.pass(mul(product(product(x!, gradient, { transposeA: true }), x!, { transposeB: true }), -1))
  })
}

/** value · I [blocks, b, b] */
function identity({ shape, device }: Tensor, value: number): Tensor {
  const [blocks, side] = shape as [number, number]
  const matrices = Tensor.zeros(shape, { device })
  native.fill(matrices.view([blocks, side], [side * side, side + 1]).native, value)
  return matrices
}
