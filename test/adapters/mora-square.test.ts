/** MoRA's contribution to a few rows, which reads M once, against products with the merged ΔW. */
import { afterAll, describe, expect, test } from 'vitest'
import { MoraLayer } from '../../lib/adapters/methods/mora-layer.js'
import { OPERATORS } from '../../lib/adapters/methods/mora-operators.js'
import { randomStream } from '../../lib/common/random.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { Linear, LinearGroup } from '../../lib/nn/linear.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep, scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const random = randomStream(1, 'square')
const values = (count: number) => Float32Array.from({ length: count }, () => random.normal())

/** Sides below, between and above the widths; widths that sides divide, and not. */
const SHAPES = [
  { inFeatures: 24, outFeatures: 16, side: 8 },
  { inFeatures: 23, outFeatures: 50, side: 6 },
  { inFeatures: 50, outFeatures: 13, side: 8 },
  { inFeatures: 5, outFeatures: 19, side: 12 },
  { inFeatures: 19, outFeatures: 5, side: 12 },
]

interface Case {
  operator: (typeof OPERATORS)[number]
  foldOutput: boolean
  isPermuted: boolean
}

const cases: Case[] = OPERATORS.flatMap((operator) => [
  { operator, foldOutput: false, isPermuted: false },
  { operator, foldOutput: operator === 'rotation', isPermuted: true },
])

/** Returns y [T, d] in float64 for x [T, k] and a weight [d, k]. */
function product(x: Float32Array, weight: Float32Array, inFeatures: number, outFeatures: number): Float64Array {
  const y = new Float64Array((x.length / inFeatures) * outFeatures)
  for (let at = 0; at < y.length; at++) {
    const [row, output] = [Math.floor(at / outFeatures), at % outFeatures]
    for (let i = 0; i < inFeatures; i++) y[at]! += x[row * inFeatures + i]! * weight[output * inFeatures + i]!
  }
  return y
}

const ROWS = 7
const TOLERANCES = { float32: 1e-5, bfloat16: 2e-2 } as const

describe.each(['float32', 'bfloat16'] as const)('in %s', (dtype) => {
  test.each(cases)(
    '$operator, folded: $foldOutput, permuted: $isPermuted',
    async ({ operator, foldOutput, isPermuted }) => {
      for (const { side, ...features } of SHAPES) {
        const { inFeatures, outFeatures } = features
        const permutation = isPermuted ? { seed: 3, cycle: 1 } : null
        const config = { operator, scale: 0.5, foldOutput, dropout: 0, permutation }
        const options = { layer: { name: 'layer', ...features }, device, adapter: 'a' }
        const matrix = () => new Parameter('M', Tensor.from(values(side * side), [side, side], { device }))
        const layers = ['a', 'b', 'c'].map((name) => [name, new MoraLayer(config, options, matrix())] as const)
        const base = values(outFeatures * inFeatures)
        using weight = keep(cast(base, [outFeatures, inFeatures], dtype))
        const linear = new Linear('layer', weightOf(weight), null)
        for (const [name, layer] of layers) linear.adapters.set(name, { layer, active: false, scale: 1 })
        // a, a, base, b, b with c, c, base
        const rowAdapters = [
          { from: 0, to: 2, factors: new Map([['a', 2]]) },
          { from: 3, to: 4, factors: new Map([['b', 1]]) },
          {
            from: 4,
            to: 5,
            factors: new Map([
              ['b', 1],
              ['c', -0.5],
            ]),
          },
          { from: 5, to: 6, factors: new Map([['c', 1]]) },
        ]
        using x = keep(cast(values(ROWS * inFeatures), [ROWS, inFeatures], dtype))
        const y = await resultOf(() =>
          new LinearGroup([linear], linear.weight).forward(new LinearInput(x, null, false, rowAdapters)),
        )
        const deltas = new Map<string, Float32Array>()
        for (const [name, layer] of layers) deltas.set(name, await deltaOf(layer, [outFeatures, inFeatures]))
        const [exactX, exactBase] = [await x.data(), await weight.data()] as [Float32Array, Float32Array]
        const expected = product(exactX, exactBase, inFeatures, outFeatures)
        for (const { from, to, factors } of rowAdapters) {
          const own = exactX.subarray(from * inFeatures, to * inFeatures)
          for (const [name, factor] of factors) {
            const part = product(own, deltas.get(name)!, inFeatures, outFeatures)
            for (const [i, value] of part.entries()) expected[from * outFeatures + i]! += factor * value
          }
        }
        const most = Math.max(...expected.map(Math.abs))
        const apart = Math.max(...expected.map((value, i) => Math.abs(value - y[i]!)))
        expect(apart / most, `${inFeatures} → ${outFeatures}, side ${side}`).toBeLessThan(TOLERANCES[dtype])
        for (const [, layer] of layers) layer.dispose()
      }
    },
  )
})

function cast(of: Float32Array, shape: number[], dtype: FloatDType): Tensor {
  return scope(() => {
    const tensor = Tensor.empty(shape, { device, dtype })
    tensor.copyFrom(Tensor.from(of, shape, { device }))
    return tensor
  })
}

async function resultOf(forward: () => Tensor): Promise<Float32Array> {
  using y = keep(scope(() => noGrad(forward)))
  using wide = keep(Tensor.empty(y.shape, { device }))
  wide.copyFrom(y)
  return (await wide.data()) as Float32Array
}

/** ΔW [d, k], row-major. */
async function deltaOf(layer: MoraLayer, shape: number[]): Promise<Float32Array> {
  using weight = keep(Tensor.zeros(shape, { device }))
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  layer.mergeInto(weight, 1, nonFinite)
  return (await weight.data()) as Float32Array
}
