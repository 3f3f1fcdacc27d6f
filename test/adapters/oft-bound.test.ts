/** Constrained OFT: a generator beyond the bound computes, and is trained, as the one that it is scaled down to. */
import { expect, test } from 'vitest'
import type { AdapterMethod } from '../../lib/adapters/contract/adapter.js'
import { type OftConfig, oft, oftMethod } from '../../lib/adapters/methods/oft.js'
import { LayerMaker } from '../../lib/adapters/tensors/layer-maker.js'
import { randomStream } from '../../lib/common/random.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import type { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { record } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const [d, k, side, rows] = [5, 12, 4, 3]
const values = side * (side - 1) * 0.5
const random = randomStream(3, 'bound')
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
const weight = normal(d * k)
const counts = normal(rows * d)
const inputs = normal(rows * k)

/** A layer's results with these values, their gradients, and the values after each. */
async function passesOf(config: OftConfig, q: Float32Array) {
  const method: AdapterMethod = oftMethod
  const layer = { name: 'a', inFeatures: k, outFeatures: d }
  const w = weightOf(Tensor.from(weight, [d, k], { device }))
  const made = await new LayerMaker(method, config, [layer]).create({ layer, device, adapter: 'x' }, 3, w)
  const parameter: Parameter = made.parameters[0]!
  parameter.assign(q)
  const x = Tensor.from(inputs, [rows, k], { device })
  const output = () => {
    const target = Tensor.empty([rows, d], { device })
    return made.forward(new LinearInput(x), 1, { target, accumulate: false }, w)
  }
  const numbers = async (tensor: Tensor) => Float32Array.from((await tensor.data()) as Float32Array)
  using y = scope(output)
  const computed = await numbers(y)
  const loss = scope(() => {
    const gradient = Tensor.from(counts, [rows, d], { device })
    return record(Tensor.zeros([1], { device }), [output()], [gradient], (_, [of], [dY]) => dY!.pass(of!))
  })
  const afterForward = await numbers(parameter)
  await loss.backward()
  const result = { computed, afterForward, gradient: await numbers(parameter.grad!), after: await numbers(parameter) }
  for (const part of [loss, x, made, w]) part.dispose()
  return result
}

const near = (got: Float32Array, wanted: ArrayLike<number>) => {
  for (const [at, value] of got.entries()) expect(Math.abs(value - wanted[at]!)).toBeLessThan(2e-6)
}

test.each([
  ['a rotation for each block, exact', {}, 3],
  ['one rotation for all blocks, a series', { oftShared: true, oftTerms: 5 }, 1],
])('%s', async (_, options, blocks) => {
  const oftBound = 0.6
  const config = { rank: side, oftTerms: 0, ...options }
  // The first block is within the bound, where there are others.
  const q = normal(blocks * values).map((value, at) => (blocks > 1 && at < values ? 0.02 * value : value))
  const most = oftBound / Math.sqrt(blocks)
  const bounded = Float64Array.from(q, (value, at) => {
    const first = at - (at % values)
    const norm = Math.SQRT2 * Math.hypot(...q.subarray(first, first + values))
    return value * Math.min(1, most / norm)
  })
  const got = await passesOf(oft({ ...config, oftBound }), q)
  const wanted = await passesOf(oft(config), Float32Array.from(bounded))
  expect(got.afterForward).toEqual(q)
  near(got.computed, wanted.computed)
  near(got.gradient, wanted.gradient)
  near(got.after, bounded)
  if (blocks > 1) expect(got.after.subarray(0, values)).toEqual(q.subarray(0, values))
  expect(Math.max(...q.map((value, at) => Math.abs(value - bounded[at]!)))).toBeGreaterThan(0.1)
})
