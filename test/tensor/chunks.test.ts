/** Sums over chunks of rows equal those over all rows, with gradients computed chunk by chunk. */
import { afterAll, describe, expect, test } from 'vitest'
import { sumOfChunks } from '../../lib/tensor/chunks.js'
import { add, mul, square } from '../../lib/tensor/operations/arithmetic.js'
import { slice } from '../../lib/tensor/operations/indexing.js'
import { linear } from '../../lib/tensor/operations/products.js'
import { logSoftmax, sum } from '../../lib/tensor/operations/reductions.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(async () => {
  await device.synchronize()
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
})

const wave = (shape: [number, number], shift: number) =>
  Tensor.from(
    Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i + shift)),
    shape,
    { device },
  )
const parametersOf = () => ({
  x: new Parameter('x', wave([7, 5], 1)),
  weight: new Parameter('weight', wave([9, 5], 2)),
  shift: new Parameter('shift', wave([1, 9], 3)),
})
type Parameters = ReturnType<typeof parametersOf>

/** A loss of rows, with a weight that is used inside and a tensor that was computed before, both with gradients. */
function lossOf({ x, weight, shift }: Parameters, size: number | null): Tensor {
  return scope(() => {
    const hidden = mul(x, 2)
    const before = square(shift)
    const body = (rows: Tensor) => {
      const logP = logSoftmax(add(linear(rows, weight), before))
      return sum(mul(logP, logP))
    }
    const total = size === null ? body(hidden) : sumOfChunks(hidden, size, body)
    return mul(add(total, sum(before)), 0.5)
  })
}

async function gradientsOf(size: number | null, times = 1): Promise<{ loss: number; gradients: number[][] }> {
  const parameters = parametersOf()
  let value = 0
  for (let i = 0; i < times; i++) {
    const loss = lossOf(parameters, size)
    await loss.backward()
    value = await loss.item()
    loss.dispose()
  }
  const gradients: number[][] = []
  for (const parameter of Object.values(parameters)) {
    gradients.push(Array.from(await parameter.grad!.data()))
    parameter.dispose()
  }
  return { loss: value, gradients }
}

function expectAlike(got: number[][], wanted: number[][], factor = 1): void {
  for (const [i, values] of wanted.entries()) {
    const largest = Math.max(...values.map(Math.abs))
    for (const [j, value] of values.entries())
      expect(Math.abs(got[i]![j]! - factor * value)).toBeLessThan(1e-5 * factor * largest)
  }
}

describe('a sum of chunks', () => {
  test.each([1, 2, 3, 7, 100])('of %i rows has the loss and the gradients of all rows at once', async (size) => {
    const whole = await gradientsOf(null)
    const chunked = await gradientsOf(size)
    expect(chunked.loss).toBeCloseTo(whole.loss, 3)
    expectAlike(chunked.gradients, whole.gradients)
  })

  test('adds to existing gradients', async () => {
    expectAlike((await gradientsOf(2, 2)).gradients, (await gradientsOf(2)).gradients, 2)
  })

  test('changes gradients only in a backward pass', async () => {
    const parameters = parametersOf()
    const { weight } = parameters
    const first = lossOf(parameters, 2)
    await first.backward()
    const before = await weight.grad!.data()
    const second = lossOf(parameters, 2)
    expect(await weight.grad!.data()).toEqual(before)
    for (const tensor of [first, second, ...Object.values(parameters)]) tensor.dispose()
  })

  test('keeps one chunk in memory at a time', async () => {
    const x = new Parameter('x', wave([64, 1024], 1))
    const peakOf = async (size: number) => {
      await device.synchronize()
      const { inUse } = device.memory()
      device.resetPeak()
      const loss = scope(() => sumOfChunks(x, size, (rows) => sum(square(mul(rows, 3)))))
      await device.synchronize()
      const { peak } = device.memory()
      loss.dispose()
      return peak - inUse
    }
    const bytes = 4 * 64 * 1024
    expect(await peakOf(64)).toBeGreaterThan(3 * bytes)
    expect(await peakOf(2)).toBeLessThan(1.5 * bytes)
    x.dispose()
  })

  test('records nothing without gradients', () => {
    const parameters = parametersOf()
    const total = noGrad(() => lossOf(parameters, 2))
    expect(total.requiresGrad).toBe(false)
    for (const tensor of [total, ...Object.values(parameters)]) tensor.dispose()
  })

  test('frees gradients if the body throws', async () => {
    const parameters = parametersOf()
    const first = lossOf(parameters, 2)
    await first.backward()
    const { x, weight } = parameters
    const before = await weight.grad!.data()
    const failing = () =>
      scope(() =>
        sumOfChunks(x, 2, (rows, from) => {
          if (from > 2) throw new RangeError('no more')
          return sum(linear(rows, weight))
        }),
      )
    expect(failing).toThrow('no more')
    expect(await weight.grad!.data()).toEqual(before)
    for (const tensor of [first, ...Object.values(parameters)]) tensor.dispose()
  })

  test('requires a scalar from each chunk', () => {
    const x = new Parameter('x', wave([4, 2], 1))
    expect(() => scope(() => sumOfChunks(x, 2, (rows) => slice(rows, 0, 1)))).toThrow(
      /^Expected a scalar for the result of each chunk but received \[1, 2\]\.$/,
    )
    x.dispose()
  })
})
