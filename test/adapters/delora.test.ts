/** DeLoRA's own rules: initial bounds by patterns, the stored norms of W, and the lower bound of norms. */
import { expect, test } from 'vitest'
import type { DeltaLayer } from '../../lib/adapters/contract/adapter-layer.js'
import { delora, deloraMethod } from '../../lib/adapters/methods/delora.js'
import { LayerMaker } from '../../lib/adapters/tensors/layer-maker.js'
import type { Parameter } from '../../lib/tensor/parameter.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const [d, k] = [3, 5]

async function layerOf(config: ReturnType<typeof delora>, values: Float32Array, name = 'model.layers.0.mlp.up_proj') {
  const facts = { name, inFeatures: k, outFeatures: d }
  const weight = Tensor.from(values, [d, k], { device })
  const made = await new LayerMaker(deloraMethod as never, config, [facts]).create(
    { layer: facts, device, adapter: 'x' },
    3,
    weightOf(weight),
  )
  const layer = made as DeltaLayer
  const [a, b, lambda, norms] = layer.tensors as [Parameter, Parameter, Parameter, Parameter]
  return { layer, own: { a, b, lambda, norms }, weight }
}

const numbers = async (tensor: Tensor) => (await tensor.data()) as Float32Array

test('the bound of a layer starts as its pattern says, and the norms are those of the columns of W', async () => {
  const values = Float32Array.from({ length: d * k }, (_, at) => (at % k === 2 ? 0 : Math.cos(at)))
  const config = delora({ deloraLambda: 4, lambdaPattern: { up_proj: 2.5 } })
  const [matched, other] = [
    await layerOf(config, values),
    await layerOf(config, values, 'model.layers.0.mlp.down_proj'),
  ]
  expect(await numbers(matched.own.lambda)).toEqual(Float32Array.of(2.5))
  expect(await numbers(other.own.lambda)).toEqual(Float32Array.of(4))
  expect(matched.layer.parameters).not.toContain(matched.own.norms)
  for (const [column, norm] of (await numbers(matched.own.norms)).entries()) {
    const wanted = Math.hypot(...[0, 1, 2].map((row) => values[row * k + column]!))
    expect(Math.abs(norm - wanted)).toBeLessThan(1e-6)
  }
  for (const { layer, weight } of [matched, other]) for (const part of [layer, weight]) part.dispose()
})

test('norms below 1e-4 count as 1e-4, and so does that of a zero column', async () => {
  const { layer, own, weight } = await layerOf(delora({ rank: 3, deloraLambda: 6 }), new Float32Array(d * k).fill(1))
  const { a, b, norms } = own
  const ofA = Float32Array.from({ length: 3 * k }, (_, at) => Math.sin(1 + at))
  // Columns of B: one of usual length, one of length 2e-5, one of zeros.
  const ofB = Float32Array.from({ length: d * 3 }, (_, at) => [Math.cos(at), 2e-5 / Math.sqrt(3), 0][at % 3]!)
  a.assign(ofA)
  b.assign(ofB)
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  layer.mergeInto(weight, 1, nonFinite)
  const [merged, lengths] = [await numbers(weight), await numbers(norms)]
  for (let row = 0; row < d; row++) {
    for (let column = 0; column < k; column++) {
      let sum = 1
      for (let i = 0; i < 3; i++) {
        const normA = Math.hypot(...ofA.subarray(i * k, i * k + k))
        const normB = Math.max(1e-4, Math.hypot(...[0, 1, 2].map((at) => ofB[at * 3 + i]!)))
        sum += (6 / (3 * normA * normB)) * ofB[row * 3 + i]! * ofA[i * k + column]! * lengths[column]!
      }
      expect(Math.abs(merged[row * k + column]! - sum)).toBeLessThan(2e-6)
    }
  }
  for (const part of [layer, weight, nonFinite]) part.dispose()
})
