/** A backward pass reports each gradient once it is final, whatever is trained, and however. */
import { afterAll, describe, expect, it } from 'vitest'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { packBatch } from '../../../lib/batches/packing.js'
import type { Model } from '../../../lib/models/index.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../../lib/options/index.js'
import type { Parameter } from '../../../lib/tensor/parameter.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

async function expectFinal(model: Model): Promise<void> {
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  // Factors are not zero, so that no gradient is.
  for (const one of parameters) {
    const values = await one.data()
    one.assign(values.map((value, i) => value + 0.01 * Math.sin(i)))
  }
  const ids = Int32Array.from({ length: 12 }, (_, i) => 3 + ((i * 7) % 20))
  const batch = packBatch([{ ids, mask: new Uint8Array(12).fill(1), row: 0 }])
  const seen = new Map<object, Promise<unknown>>()
  const order: object[] = []
  const { loss } = await model.lossAsync(batch)
  await loss.backward({
    onGradient: (one) => {
      order.push(one)
      seen.set(one, (one as Parameter).grad!.data())
    },
  })
  loss.dispose()
  expect(parameters.length).toBeGreaterThan(0)
  expect(order).toHaveLength(parameters.length)
  for (const one of parameters) {
    const values = await one.grad!.data()
    expect(await seen.get(one), one.name).toEqual(values)
    expect(
      values.some((value) => value !== 0),
      one.name,
    ).toBe(true)
    one.zeroGrad()
  }
}

describe.each([false, true])('with activations recomputed: %s', (recompute) => {
  it.each(ADAPTER_METHODS)('of %s', async (method) => {
    using model = await loadTiny('tiny-untied')
    model.gradientCheckpointing = recompute
    await model.addAdapter('a', newAdapterConfig(method, newAdapterOptions({ method, rank: 2 })), { seed: 1 })
    await expectFinal(model)
  })

  it.each(['tiny-untied', 'tiny-tied-llama3-rope'] as const)('of every weight of %s', async (name) => {
    using model = await loadTiny(name)
    model.gradientCheckpointing = recompute
    model.trainAll()
    await expectFinal(model)
  })
})
