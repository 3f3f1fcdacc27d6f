/**
 * MoRA's section operators with sides that are not aligned to 16 bytes: products of windows and of sections, beside the CPU's.
 */

import { liveSections, native } from '../../../bench/common/internals.mjs'
import { allowedOf, relative, uniform } from './values.mjs'

export function casesOf({ tiny, device, cpu }) {
  const sizes = tiny
    ? [
        { T: 3, k: 48, d: 48, R: 20 },
        { T: 2, k: 30, d: 26, R: 7, rotate: false },
      ]
    : [
        { T: 257, k: 4096, d: 4096, R: 1446 },
        { T: 257, k: 4096, d: 11008, R: 255, rotate: false },
        { T: 257, k: 4095, d: 4097, R: 348 },
        { T: 257, k: 576, d: 1536, R: 94 },
      ]
  return sizes.flatMap((size) => ['bfloat16', 'float32'].map((dtype) => sections(device, cpu, size, dtype)))
}

function sections(device, cpu, { T, k, d, R, rotate = true }, dtype) {
  const plan = { inFeatures: k, outFeatures: d, side: R, rotate, truncate: false, foldOutput: false }
  return {
    name: `${rotate ? 'rotation' : 'decoupling'} ${k} to ${d} with R = ${R}, ${dtype}`,
    bytes: 8 * (T * (k + d) + 2 * liveSections(plan) * (R + 16) ** 2),
    async run(held) {
      const [gpu, expected] = [await results(held, device), await results(held, cpu)]
      const apart = Math.max(...gpu.map((values, i) => relative(values, expected[i])))
      return { apart, allowed: allowedOf[dtype] * (dtype === 'float32' ? 1 : 2) }
    },
  }

  /** Outputs, gradient of the inputs, gradient of the matrix. */
  async function results(held, on) {
    const W = native.foldedSide(plan, dtype, on)
    const matrices = [liveSections(plan), W, W]
    const matrix = held.from(on, 'float32', [R, R], uniform(R * R, 1))
    const x = held.from(on, dtype, [T, k], uniform(T * k, 2))
    const dY = held.from(on, dtype, [T, d], uniform(T * d, 3))
    const [folded, dFolded] = [held.empty(on, dtype, matrices), held.empty(on, 'float32', matrices)]
    const [y, dX] = [held.empty(on, dtype, [T, d]), held.empty(on, dtype, [T, k])]
    const dMatrix = held.empty(on, 'float32', [R, R])
    native.foldSections(plan, matrix.native, folded.native)
    native.sectionsForward(plan, x.native, folded.native, y.native, false)
    native.sectionsBackwardInput(plan, dY.native, folded.native, dX.native, false)
    native.sectionsBackwardWeight(plan, x.native, dY.native, dFolded.native)
    native.unfoldSections(plan, dFolded.native, dMatrix.native, false)
    return [await y.data(), await dX.data(), await dMatrix.data()]
  }
}
