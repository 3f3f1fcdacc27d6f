/** Packed documents are convolved as each alone, to the bit. */
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { causalConvolution } from '../../lib/tensor/operations/convolution.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { activationDTypes, testDevice } from './harness.js'

const device = testDevice()
const [channels, length] = [24, 4]
const offsets = [0, 5, 5, 6, 40, 43]

test.each(activationDTypes)('packed documents equal those alone, in %s', async (dtype) => {
  const random = randomStream(4, 'test', 'convolution')
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  const values = normal(offsets.at(-1)! * channels)
  const parameters = {
    kernel: new Parameter('kernel', Tensor.from(normal(channels * length), [channels, length], { device })),
    bias: new Parameter('bias', Tensor.from(normal(channels), [channels], { device })),
  }
  const convolved = async (starts: readonly number[], rows: Float32Array) => {
    const y = scope(() => {
      const x = Tensor.empty([rows.length / channels, channels], { device, dtype })
      x.copyFrom(Tensor.from(rows, x.shape, { device }))
      const bounds = Tensor.from(Int32Array.from(starts), [starts.length], { device, dtype: 'int32' })
      return causalConvolution(x, parameters.kernel, parameters.bias, bounds)
    })
    const result = await y.data()
    y.dispose()
    return [...result].map(Number)
  }
  const packed = await convolved(offsets, values)
  const alone: number[] = []
  for (const [i, end] of offsets.slice(1).entries()) {
    const rows = values.slice(offsets[i]! * channels, end * channels)
    alone.push(...(await convolved([0, end - offsets[i]!], rows)))
  }
  expect(packed).toEqual(alone)
  expect(new Set(packed).size).toBeGreaterThan(packed.length / 4)
  for (const parameter of Object.values(parameters)) parameter.dispose()
})
