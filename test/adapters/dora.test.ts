/** DoRA's gradients against differences in float64 of its output with the norm held fixed, and its start. */
import { expect, test } from 'vitest'
import { DoraLayer, dora, doraMethod } from '../../lib/adapters/methods/dora.js'
import { LayerMaker } from '../../lib/adapters/tensors/layer-maker.js'
import { randomStream } from '../../lib/common/random.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { record } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { testDevice } from '../operations/harness.js'

const [rows, k, d, rank, scale, total] = [5, 11, 7, 3, 0.5, -1.5]
const device = testDevice()
const random = randomStream(1, 'test', 'dora')
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
const options = { layer: { name: 'layer', inFeatures: k, outFeatures: d }, device, adapter: 'a' }

type Values = Record<'x' | 'a' | 'b' | 'm', Float32Array | Float64Array>

/** W + s B A, row-major. */
function directed(weight: Float32Array, { a, b }: Pick<Values, 'a' | 'b'>): Float64Array {
  return Float64Array.from(weight, (value, at) => {
    let sum = value
    for (let r = 0; r < rank; r++) sum += scale * b[Math.floor(at / k) * rank + r]! * a[r * k + (at % k)]!
    return sum
  })
}

const normsOf = (matrix: ArrayLike<number>): number[] =>
  Array.from({ length: d }, (_, o) => Math.hypot(...Array.from({ length: k }, (_, i) => matrix[o * k + i]!)))

/** Σ counts · y with y = total · x (m ⊙ (W + s B A) / norms − W)ᵀ. */
function output(weight: Float32Array, values: Values, norms: number[], counts: Float32Array): number {
  const matrix = directed(weight, values)
  let sum = 0
  for (let t = 0; t < rows; t++) {
    for (let o = 0; o < d; o++) {
      let y = 0
      for (let i = 0; i < k; i++) {
        y += values.x[t * k + i]! * ((values.m[o]! * matrix[o * k + i]!) / norms[o]! - weight[o * k + i]!)
      }
      sum += counts[t * d + o]! * total * y
    }
  }
  return sum
}

test('gradients of x, A, B and m are those of an output whose norm is fixed', async () => {
  const values: Values = { x: normal(rows * k), a: normal(rank * k), b: normal(d * rank), m: normal(d) }
  const [weightValues, counts] = [normal(d * k), normal(rows * d)]
  const parameter = (name: keyof Values, shape: number[]) =>
    new Parameter(name, Tensor.from(values[name] as Float32Array, shape, { device }))
  const [x, a, b, m] = [
    parameter('x', [rows, k]),
    parameter('a', [rank, k]),
    parameter('b', [d, rank]),
    parameter('m', [d]),
  ]
  const weight = Tensor.from(weightValues, [d, k], { device })
  const layer = new DoraLayer(options, 0, scale, a, b, m)
  const loss = scope(() => {
    const target = Tensor.empty([rows, d], { device })
    const y = layer.forward(new LinearInput(x), total, { target, accumulate: false }, weightOf(weight))
    const gradient = Tensor.from(counts, [rows, d], { device })
    return record(Tensor.zeros([1], { device }), [y], [gradient], (_, [of], [dY]) => dY!.pass(of!))
  })
  await loss.backward()
  const norms = normsOf(directed(weightValues, values))
  for (const [name, leaf] of Object.entries({ x, a, b, m })) {
    const got = await leaf.grad!.data()
    const largest = Math.max(...got.map(Math.abs))
    for (const at of got.keys()) {
      const side = (distance: number) => {
        const moved = Float64Array.from(values[name as keyof Values])
        moved[at]! += distance
        return output(weightValues, { ...values, [name]: moved }, norms, counts)
      }
      const wanted = (side(1e-4) - side(-1e-4)) / 2e-4
      expect(Math.abs(got[at]! - wanted), `${name}[${at}]`).toBeLessThan(1e-5 * largest)
    }
  }
  for (const tensor of [x, a, b, m, weight, loss]) tensor.dispose()
})

test('a new layer changes nothing: the magnitude is the norm of the weight', async () => {
  const weightValues = normal(d * k)
  const weight = Tensor.from(weightValues, [d, k], { device })
  const layer = (await new LayerMaker(doraMethod, dora({ rank }), [options.layer]).create(
    options,
    1,
    weightOf(weight),
  )) as DoraLayer
  const norms = normsOf(weightValues)
  for (const [o, value] of (await layer.magnitude.data()).entries()) {
    expect(Math.abs(value / norms[o]! - 1)).toBeLessThan(1e-6)
  }
  const merged = Tensor.from(weightValues, [d, k], { device })
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  layer.mergeInto(merged, 1, nonFinite)
  for (const [i, value] of (await merged.data()).entries()) {
    expect(Math.abs(value - weightValues[i]!)).toBeLessThan(1e-6)
  }
  for (const part of [weight, merged, nonFinite, layer]) part.dispose()
})

test('rows that hold the weight become what the sum of weight and change is', async () => {
  const parameter = (name: string, shape: [number, number]) =>
    new Parameter(name, Tensor.from(normal(shape[0] * shape[1]), shape, { device }))
  const magnitude = new Parameter('m', Tensor.from(normal(d), [d], { device }))
  const layer = new DoraLayer(options, 0, scale, parameter('a', [rank, k]), parameter('b', [d, rank]), magnitude)
  const weight = Tensor.from(normal(d * k), [d, k], { device })
  for (const factor of [1, total]) {
    const [untouched, change] = [Tensor.empty([d, k], { device }), Tensor.zeros([d, k], { device })]
    untouched.copyFrom(weight)
    layer.weightUpdate(factor).addTo(untouched, weight, true)
    layer.weightUpdate(factor).addTo(change, weight, false)
    const [sum, base, added] = (await Promise.all([untouched, weight, change].map((of) => of.data()))) as Float32Array[]
    for (const [i, value] of sum!.entries()) expect(Math.abs(value - base![i]! - added![i]!)).toBeLessThan(1e-5)
    expect(added!.some((value) => Math.abs(value) > 0.1)).toBe(true)
    untouched.dispose()
    change.dispose()
  }
  for (const part of [weight, layer]) part.dispose()
})
