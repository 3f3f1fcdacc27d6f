/** MoRA between a random permutation of its inputs and one of its outputs. */
import { afterAll, describe, expect, test } from 'vitest'
import { operators } from '../../lib/adapters/methods/mora.js'
import { MoraLayer } from '../../lib/adapters/methods/mora-layer.js'
import { Permutation, type PermutationKey } from '../../lib/adapters/methods/permutation.js'
import { randomStream } from '../../lib/common/random.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep, scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { largestDifference } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const key: PermutationKey = { seed: 3, cycle: 1 }
const layer = { name: 'layer', inFeatures: 23, outFeatures: 17 }
const side = 6

function random(name: string, count: number): Float32Array {
  const stream = randomStream(1, name)
  return Float32Array.from({ length: count }, () => stream.normal())
}

function layerOf(operator: (typeof operators)[number], permutation: PermutationKey | null): MoraLayer {
  const config = { operator, scale: 0.5, foldOutput: false, dropout: 0, permutation }
  const matrix = new Parameter('M', Tensor.from(random('M', side * side), [side, side], { device }))
  return new MoraLayer(config, { layer, device, adapter: 'a' }, matrix)
}

/** ΔW [d, k], row-major. */
async function deltaOf(adapter: MoraLayer): Promise<Float32Array> {
  using weight = keep(Tensor.zeros([layer.outFeatures, layer.inFeatures], { device }))
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  adapter.mergeInto(weight, 2, nonFinite)
  expect(await nonFinite.item()).toBe(0)
  return (await weight.data()) as Float32Array
}

/** The order of a permutation's columns: where each of `width` numbered columns comes from. */
async function orderOf(permutation: Permutation, side: 'inputs' | 'outputs', width: number): Promise<number[]> {
  using numbers = keep(
    Tensor.from(
      Float32Array.from({ length: width }, (_, i) => i),
      [1, width],
      { device },
    ),
  )
  using gathered = keep(permutation[side](numbers))
  return [...((await gathered.data()) as Float32Array)]
}

describe('a permutation', () => {
  test('is a function of seed, cycle and width, another for inputs and outputs', async () => {
    const square = { name: 'square', inFeatures: 40, outFeatures: 40 }
    const ordersOf = async (of: PermutationKey) => {
      const permutation = new Permutation(of, square, device)
      const orders = [await orderOf(permutation, 'inputs', 40), await orderOf(permutation, 'outputs', 40)]
      permutation.dispose()
      return orders
    }
    const [inputs, outputs] = await ordersOf(key)
    const sorted = Array.from({ length: 40 }, (_, i) => i)
    expect([...inputs!].sort((a, b) => a - b)).toEqual(sorted)
    expect(inputs).not.toEqual(sorted)
    expect(outputs).not.toEqual(inputs)
    expect(await ordersOf(key)).toEqual([inputs, outputs])
    expect((await ordersOf({ ...key, cycle: 2 }))[0]).not.toEqual(inputs)
    expect((await ordersOf({ ...key, seed: 4 }))[0]).not.toEqual(inputs)
  })

  test.each(operators)('moves the entries of ΔW exactly: %s', async (operator) => {
    const [plain, permuted] = [layerOf(operator, null), layerOf(operator, key)]
    const [between, delta] = [await deltaOf(plain), await deltaOf(permuted)]
    const permutation = new Permutation(key, layer, device)
    const inputs = await orderOf(permutation, 'inputs', layer.inFeatures)
    const outputs = await orderOf(permutation, 'outputs', layer.outFeatures)
    for (const [j, row] of outputs.entries()) {
      for (const [c, column] of inputs.entries()) {
        expect(delta[j * layer.inFeatures + column]).toBe(between[row * layer.inFeatures + c])
      }
    }
    for (const each of [plain, permuted, permutation]) each.dispose()
  })

  test.each(operators)('computes what it merges: %s', async (operator) => {
    const adapter = layerOf(operator, key)
    const rows = 5
    const values = random('x', rows * layer.inFeatures)
    using x = keep(Tensor.from(values, [rows, layer.inFeatures], { device }))
    using target = keep(Tensor.empty([rows, layer.outFeatures], { device }))
    noGrad(() => scope(() => void adapter.forward(new LinearInput(x), 2, { target, accumulate: false })))
    const delta = await deltaOf(adapter)
    const expected = Float64Array.from({ length: rows * layer.outFeatures }, (_, i) => {
      const [t, j] = [Math.floor(i / layer.outFeatures), i % layer.outFeatures]
      let sum = 0
      for (let c = 0; c < layer.inFeatures; c++)
        sum += values[t * layer.inFeatures + c]! * delta[j * layer.inFeatures + c]!
      return sum
    })
    expect(largestDifference((await target.data()) as Float32Array, expected)).toBeLessThan(2e-5)
    adapter.dispose()
  })
})
