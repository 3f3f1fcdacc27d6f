/** `gradientCheck`: every method of the library passes, and a wrong gradient of one's own is named. */
import { describe, expect, test } from 'vitest'
import { loraXsMethod } from '../../examples/adapters/lora-xs.js'
import type { AdapterConfigBase, AdapterMethod, LayerOptions } from '../../lib/adapters/contract/adapter.js'
import { checkedConfig } from '../../lib/adapters/contract/adapter-config.js'
import { DeltaLayer } from '../../lib/adapters/contract/adapter-layer.js'
import { type GradientCheckOptions, gradientCheck } from '../../lib/adapters/gradient-check.js'
import OWN_METHODS from '../../lib/adapters/own-methods.js'
import { mul } from '../../lib/tensor/operations/arithmetic.js'
import { matmul } from '../../lib/tensor/operations/products.js'
import { noGrad, record } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

/** DoRA's gradients take its norms for constants (arXiv 2402.09353, section 4.3). */
const exceptions = (name: string) => (name === 'dora' ? { except: ['lora_A', 'lora_B'] } : {})

describe('the library’s methods pass', () => {
  test.each(OWN_METHODS.map((method) => [method.name, method as unknown as AdapterMethod] as const))(
    '%s',
    async (_, method) => {
      const results = await gradientCheck(method, exceptions(method.name))
      const trained = new Set(results.map(({ tensor }) => tensor))
      expect(trained.size).toBeGreaterThan(1)
      expect(trained).toContain('x')
      for (const { error } of results) expect(error).toBeLessThan(0.002)
    },
  )

  test.each<[string, GradientCheckOptions]>([
    ['of odd sizes', { inFeatures: 13, outFeatures: 7, rows: 3, seed: 4, config: { rank: 3 } }],
    ['with more outputs', { inFeatures: 5, outFeatures: 17, config: { rank: 2 } }],
  ])('mora and lora %s', async (_, options) => {
    for (const name of ['mora', 'lora', 'dora', 'hira']) {
      const method = OWN_METHODS.find((one) => one.name === name) as unknown as AdapterMethod
      await gradientCheck(method, { ...options, ...exceptions(name) })
    }
  })
})

/** ΔW = B A, with a function of B's gradient that stands for a mistake. */
function faulty(name: string, product: (b: Tensor, a: Tensor) => Tensor): AdapterMethod {
  class FaultyLayer extends DeltaLayer {
    constructor(options: LayerOptions, a: Tensor, b: Tensor) {
      super(options, 0, [a, b], { delta: () => product(b, a) })
    }
  }
  const config = (options: object) => ({ method: name, ...checkedConfig({}, options) }) as AdapterConfigBase
  return {
    name,
    options: {},
    config,
    learningRate: () => 1e-3,
    tensors: {
      a: { shape: ({ rank }, { inFeatures }) => [rank, inFeatures] },
      b: { shape: ({ rank }, { outFeatures }) => [outFeatures, rank] },
    },
    layer: (_, options, tensors) => new FaultyLayer(options, tensors.parameter('a'), tensors.parameter('b')),
    peft: { peft_type: 'FAULTY' },
  }
}

/** x, whose gradient is multiplied by a factor. */
const withGradient = (x: Tensor, factor: number) =>
  record(
    mul(
      noGrad(() => mul(x, 1)),
      1,
    ),
    [x],
    [],
    (dY, _, [dX]) => dX!.pass(mul(dY, factor)),
  )

test('dora is named where its gradients are compared', async () => {
  const method = OWN_METHODS.find(({ name }) => name === 'dora') as unknown as AdapterMethod
  await expect(gradientCheck(method)).rejects.toThrow('The method dora gives a wrong gradient of lora_A in forward: ')
})

describe('a method of one’s own', () => {
  test('from an example passes', async () => {
    const results = await gradientCheck(loraXsMethod, { config: { rank: 3 } })
    expect(results.map(({ tensor, form }) => `${tensor} ${form}`)).toEqual([
      'x forward',
      'xs_M forward',
      'x weightUpdate',
      'xs_M weightUpdate',
    ])
  })

  test.each<[string, (b: Tensor, a: Tensor) => Tensor, RegExp]>([
    [
      'a gradient that is forgotten',
      (b, a) =>
        matmul(
          b,
          noGrad(() => mul(a, 1)),
        ),
      /^The method own gives no gradient of a in forward, but differences of the result say -?[\d.e-]+ for its element \[\d+, \d+\]\.$/,
    ],
    [
      'a gradient of twice its size',
      (b, a) => matmul(withGradient(b, 2), a),
      /^The method own gives a wrong gradient of b in forward: -?[\d.e-]+, but differences of the result say -?[\d.e-]+ for its element/,
    ],
    [
      'a gradient of the other sign',
      (b, a) => matmul(b, withGradient(a, -1)),
      /^The method own gives a wrong gradient of a in forward: /,
    ],
  ])('with %s is named', async (_, product, message) => {
    const before = liveBytes(testDevice())
    const error = expect.objectContaining({ code: 'wrong-gradient', message: expect.stringMatching(message) })
    await expect(gradientCheck(faulty('own', product))).rejects.toThrow(error)
    expect(liveBytes(testDevice())).toBe(before)
  })

  test('that is right passes, at any tolerance above the rounding of differences', async () => {
    const results = await gradientCheck(
      faulty('own', (b, a) => matmul(b, a)),
      { tolerance: 1e-3 },
    )
    expect(results).toHaveLength(6)
  })
})
