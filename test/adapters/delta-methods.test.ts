/** Methods that are defined by their ΔW: gradients against finite differences, over shapes that no model has. */
import { expect, test } from 'vitest'
import type { AdapterConfigBase, AdapterMethod } from '../../lib/adapters/contract/adapter.js'
import { delora, deloraMethod } from '../../lib/adapters/methods/delora.js'
import { gralora, graloraMethod } from '../../lib/adapters/methods/gralora.js'
import { loha, lohaMethod } from '../../lib/adapters/methods/loha.js'
import { oft, oftMethod } from '../../lib/adapters/methods/oft.js'
import { randlora, randloraMethod } from '../../lib/adapters/methods/randlora.js'
import { shira, shiraMethod } from '../../lib/adapters/methods/shira.js'
import { vera, veraMethod } from '../../lib/adapters/methods/vera.js'
import { LayerMaker } from '../../lib/adapters/tensors/layer-maker.js'
import { randomStream } from '../../lib/common/random.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { record } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const rows = 3
const random = randomStream(7, 'delta')
const normal = (count: number, deviation = 1) => Float32Array.from({ length: count }, () => deviation * random.normal())

const cases: [string, AdapterMethod, AdapterConfigBase, number, number][] = [
  ['GraLoRA in three parts', graloraMethod, gralora({ rank: 6, graloraParts: 3 }), 9, 15],
  ['GraLoRA beside a LoRA', graloraMethod, gralora({ rank: 4, graloraParts: 2, hybridRank: 3 }), 14, 6],
  ['SHiRA', shiraMethod, shira({ rank: 2 }), 11, 7],
  ['SHiRA of all values', shiraMethod, shira({ rank: 2 }), 4, 4],
  ['OFT exact', oftMethod, oft({ rank: 3, oftTerms: 0 }), 15, 4],
  ['OFT of one block, exact', oftMethod, oft({ rank: 7, oftTerms: 0 }), 7, 5],
  ...[2, 3, 4, 5, 7].map((oftTerms): (typeof cases)[number] => [
    `OFT of ${oftTerms} terms`,
    oftMethod,
    oft({ rank: 5, oftTerms }),
    15,
    4,
  ]),
  ['OFT with one rotation', oftMethod, oft({ oftBlocks: 3, oftShared: true, oftTerms: 0 }), 12, 5],
  ['RandLoRA, more outputs', randloraMethod, randlora({ rank: 4 }), 6, 11],
  ['RandLoRA, more inputs', randloraMethod, randlora({ rank: 3 }), 13, 7],
  ['RandLoRA, square', randloraMethod, randlora({ rank: 5 }), 8, 8],
  ['VeRA', veraMethod, vera({ rank: 9 }), 7, 5],
  ['DeLoRA', deloraMethod, delora({ rank: 3 }), 11, 6],
  ['DeLoRA of one rank', deloraMethod, delora({ rank: 1 }), 4, 9],
  ['LoHa', lohaMethod, loha({ rank: 3, alpha: 5 }), 11, 6],
]

test.each(cases)('%s', async (_, method, config, k, d) => {
  const facts = { name: 'a', inFeatures: k, outFeatures: d }
  const larger = { name: 'b', inFeatures: k + 3, outFeatures: d + 2 }
  const weight = Tensor.from(normal(k * d), [d, k], { device })
  const options = { layer: facts, device, adapter: 'x' }
  const layer = await new LayerMaker(method, config, [facts, larger]).create(options, 3, weightOf(weight))
  const deviation = method.name === 'oft' ? 0.15 : 0.5
  for (const parameter of layer.parameters) parameter.assign(normal(parameter.elements, deviation))
  const x = new Parameter('x', Tensor.from(normal(rows * k), [rows, k], { device }))
  const counts = normal(rows * d)
  const output = () =>
    scope(() => {
      const target = Tensor.empty([rows, d], { device })
      return layer.forward(new LinearInput(x), 0.7, { target, accumulate: false }, weightOf(weight))
    })
  const lossOf = async (): Promise<number> => {
    using y = output()
    const values = (await y.data()) as Float32Array
    return values.reduce((sum, value, i) => sum + value * counts[i]!, 0)
  }
  const loss = scope(() => {
    const y = output()
    const gradient = Tensor.from(counts, [rows, d], { device })
    return record(Tensor.zeros([1], { device }), [y], [gradient], (_, [of], [dY]) => dY!.pass(of!))
  })
  await loss.backward()
  loss.dispose()

  for (const parameter of [x, ...layer.parameters]) {
    const got = (await parameter.grad!.data()) as Float32Array
    const values = Float32Array.from((await parameter.data()) as Float32Array)
    const largest = Math.max(...got.map(Math.abs))
    expect(largest, parameter.name).toBeGreaterThan(1e-3)
    for (const at of values.keys()) {
      const side = async (distance: number) => {
        parameter.assign(values.map((value, i) => (i === at ? value + distance : value)))
        return lossOf()
      }
      const wanted = ((await side(1e-2)) - (await side(-1e-2))) / 2e-2
      expect(Math.abs(got[at]! - wanted), `${parameter.name}[${at}]`).toBeLessThan(5e-3 * largest + 2e-4)
    }
    parameter.assign(values)
  }

  // Merged, the weight computes the same.
  const merged = Tensor.from((await weight.data()) as Float32Array, [d, k], { device })
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  layer.mergeInto(merged, 0.7, nonFinite)
  expect(await nonFinite.item()).toBe(0)
  using y = output()
  const [got, before, after, inputs] = (await Promise.all(
    [y, weight, merged, x].map((of) => of.data()),
  )) as Float32Array[]
  for (const [at, value] of got!.entries()) {
    const [row, column] = [Math.floor(at / d), at % d]
    let sum = 0
    for (let i = 0; i < k; i++) sum += (after![column * k + i]! - before![column * k + i]!) * inputs![row * k + i]!
    expect(Math.abs(sum - value)).toBeLessThan(2e-5 * (1 + Math.abs(value)) * 10)
  }
  for (const part of [weight, merged, nonFinite, layer, x]) part.dispose()
})

test('the exact rotation of OFT stays one for large values', async () => {
  const facts = { name: 'a', inFeatures: 8, outFeatures: 8 }
  const identity = Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0))
  const weight = Tensor.from(identity, [8, 8], { device })
  const method: AdapterMethod = oftMethod
  const config = oft({ rank: 8, oftTerms: 0 })
  const layer = await new LayerMaker(method, config, [facts]).create(
    { layer: facts, device, adapter: 'x' },
    3,
    weightOf(weight),
  )
  layer.parameters[0]!.assign(normal(28, 3))
  const nonFinite = Tensor.zeros([1], { device, dtype: 'int32' })
  layer.mergeInto(weight, 1, nonFinite)
  const turned = (await weight.data()) as Float32Array
  for (let i = 0; i < 8; i++) {
    for (let j = 0; j < 8; j++) {
      let sum = 0
      for (let at = 0; at < 8; at++) sum += turned[i * 8 + at]! * turned[j * 8 + at]!
      expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-4)
    }
  }
  for (const part of [weight, nonFinite, layer]) part.dispose()
})
