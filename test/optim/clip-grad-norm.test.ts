/** Gradients scaled in place to a maximum global norm, against float64. */
import { afterAll, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { clipGradNorm } from '../../lib/optim/clip-grad-norm.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { keep } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const random = randomStream(1, 'test', 'clip-grad-norm')
const shapes = [[3, 5], [1], [67, 33]]
const gradients = shapes.map(([rows = 1, columns = 1]) =>
  Float32Array.from({ length: rows * columns }, () => random.normal()),
)
const norm = Math.hypot(...gradients.flatMap((values) => [...values]))

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

test.each([
  ['more than the largest', norm / 4, 1 / 4],
  ['less than the largest', 2 * norm, 1],
])('a norm of %s', async (_, most, scale) => {
  const parameters = shapes.map((shape, i) => {
    const parameter = new Parameter(`p${i}`, Tensor.zeros(shape, { device }))
    parameter.grad = keep(Tensor.from(gradients[i]!, shape, { device }))
    return parameter
  })
  const untrained = new Parameter('without a gradient', Tensor.zeros([4], { device }))
  const before = clipGradNorm([...parameters, untrained], most)
  expect(Math.abs((await before.item()) / norm - 1)).toBeLessThan(1e-6)
  for (const [i, { grad }] of parameters.entries()) {
    const values = [...(await grad!.data())]
    for (const [j, value] of values.entries()) {
      const wanted = scale * gradients[i]![j]!
      expect(Math.abs(value - wanted), `gradient ${i}, value ${j}`).toBeLessThanOrEqual(1e-6 * Math.abs(wanted))
    }
  }
  expect(untrained.grad).toBeNull()
  for (const part of [...parameters, untrained, before]) part.dispose()
})

test('without parameters there is nothing to clip', () => {
  expect(() => clipGradNorm([], 1)).toThrow('clipGradNorm expected at least one parameter but received none.')
})
