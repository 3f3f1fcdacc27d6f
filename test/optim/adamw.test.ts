/** Learning rates and decay by parameter. */
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const random = randomStream(1, 'test', 'adamw')
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
const [start, gradients] = [normal(12), [normal(12), normal(12), normal(12)]]

/** A parameter's values after three steps at these rates, beside another parameter with the rate of the step. */
async function after(learningRate: number, ratio: number): Promise<Float32Array> {
  const parameter = new Parameter('p', Tensor.from(start, [3, 4], { device }))
  const other = new Parameter('q', Tensor.from(start, [12], { device }))
  parameter.learningRateRatio = ratio
  const optimizer = new AdamW([other, parameter], { weightDecay: 0.1 })
  for (const gradient of gradients) {
    parameter.grad = keep(Tensor.from(gradient, [3, 4], { device }))
    other.grad = keep(Tensor.from(gradient, [12], { device }))
    optimizer.step({ learningRate, maxGradNorm: 1 }).dispose()
  }
  const values = await parameter.data()
  const beside = await other.data()
  expect(beside).not.toEqual(start)
  if (ratio !== 1) expect(values).not.toEqual(beside)
  for (const part of [parameter, other, optimizer]) part.dispose()
  return values
}

test("a parameter's ratio multiplies its learning rate, and nothing else", async () => {
  expect(await after(1e-2, 4)).toEqual(await after(4e-2, 1))
})

test('a parameter that does not decay is updated as without decay, beside others', async () => {
  const optimized = async (decays: boolean, weightDecay: number) => {
    const parameters = [decays, true].map((one) => {
      const parameter = new Parameter('p', Tensor.from(start, [12], { device }))
      parameter.decays = one
      parameter.grad = keep(Tensor.from(gradients[0]!, [12], { device }))
      return parameter
    })
    const optimizer = new AdamW(parameters, { weightDecay })
    optimizer.step({ learningRate: 1e-2 }).dispose()
    const values = await Promise.all(parameters.map((parameter) => parameter.data()))
    for (const part of [...parameters, optimizer]) part.dispose()
    return values
  }
  const [without, withDecay, mixed] = [
    await optimized(true, 0),
    await optimized(true, 0.1),
    await optimized(false, 0.1),
  ]
  expect(mixed).toEqual([without[0], withDecay[1]])
  expect(withDecay[0]).not.toEqual(without[0])
})

// 1 - 0.999 in float32 is off by 1e-5 of itself, and with it every update.
test('the first update of every value is the learning rate, to the precision of float32', async () => {
  const parameter = new Parameter('p', Tensor.zeros([12], { device }))
  parameter.grad = keep(Tensor.from(gradients[0]!, [12], { device }))
  const optimizer = new AdamW([parameter])
  optimizer.step({ learningRate: 0.5 }).dispose()
  const values = [...(await parameter.data())]
  for (const [i, value] of values.entries()) {
    const wanted = (-0.5 * gradients[0]![i]!) / (Math.abs(gradients[0]![i]!) + 1e-8)
    expect(Math.abs(value / wanted - 1), `value ${i}`).toBeLessThan(3e-7)
  }
  for (const part of [parameter, optimizer]) part.dispose()
})
