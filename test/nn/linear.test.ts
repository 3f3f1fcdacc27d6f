import { describe, expect, it } from 'vitest'
import { DoraLayer } from '../../lib/adapters/methods/dora.js'
import { hira as hiraConfig, hiraMethod } from '../../lib/adapters/methods/hira.js'
import { LoraLayer } from '../../lib/adapters/methods/lora.js'
import { MissLayer } from '../../lib/adapters/methods/miss.js'
import { operators } from '../../lib/adapters/methods/mora.js'
import { MoraLayer } from '../../lib/adapters/methods/mora-layer.js'
import { PissaLayer } from '../../lib/adapters/methods/pissa.js'
import { randomStream, streamKey } from '../../lib/common/random.js'
import type { LayerAdapter } from '../../lib/nn/layer-adapter.js'
import { Linear, LinearGroup } from '../../lib/nn/linear.js'
import { type DropoutState, LinearInput } from '../../lib/nn/linear-input.js'
import { embedding } from '../../lib/tensor/operations/indexing.js'
import { linearCrossEntropy } from '../../lib/tensor/operations/loss.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { layerOf } from '../adapters/layer-of.js'
import { type ActivationDType, testDevice } from '../operations/harness.js'

const rows = 300
const inFeatures = 22
const widths = [19, 6, 34]
const side = 8

const device = testDevice()
const random = randomStream(1, 'test', 'linear')
const values = (count: number) => Float32Array.from({ length: count }, () => random.normal() / 4)
const tensor = (...shape: [number, number]) => Tensor.from(values(shape[0] * shape[1]), shape, { device })
const integers = (list: number[]) => Tensor.from(Int32Array.from(list), [list.length], { device, dtype: 'int32' })

/** Three layers over one matrix, adapters beside the first and the last; x is a table of which rows are taken. */
function group(dtype: ActivationDType, make: (layer: { name: string; outFeatures: number }) => LayerAdapter) {
  const total = widths.reduce((sum, width) => sum + width, 0)
  const fused = Tensor.empty([total, inFeatures], { device, dtype })
  fused.copyFrom(tensor(total, inFeatures))
  let from = 0
  const layers = widths.map((width, i) => {
    const layer = new Linear(`layer${i}`, weightOf(fused.rows(from, from + width)), null)
    from += width
    if (i !== 1) {
      const adapter = make({ name: layer.name, outFeatures: width })
      layer.adapters.set('a', { layer: adapter, active: true, scale: i + 1 })
    }
    return layer
  })
  const head = Tensor.empty([11, total], { device, dtype })
  head.copyFrom(tensor(11, total))
  const x = new Parameter('x', tensor(rows, inFeatures))
  const adapters = layers.flatMap((layer) => [...layer.adapters.values()].map((adapter) => adapter.layer))
  const parameters = [x, ...adapters.flatMap((adapter) => adapter.parameters)]

  /** Loss and gradients, `perPass` rows at a time. */
  const run = async (perPass: number, probability: number) => {
    let loss = 0
    for (let start = 0; start < rows; start += perPass) {
      const ids = Array.from({ length: Math.min(perPass, rows - start) }, (_, i) => start + i)
      const part = scope(() => {
        const keys = Tensor.from(BigInt64Array.from(ids, BigInt), [ids.length], { device, dtype: 'int64' })
        const dropout: DropoutState = { rowKeys: keys, key: (layer) => streamKey(3, 'dropout', 1, layer) }
        const input = new LinearInput(embedding(weightOf(x), integers(ids), dtype), probability > 0 ? dropout : null)
        return linearCrossEntropy(
          new LinearGroup(layers, weightOf(fused)).forward(input),
          head,
          integers(ids.map((i) => i % 11)),
        )
      })
      await part.backward()
      loss += await part.item()
      part.dispose()
    }
    const gradients = await Promise.all(parameters.map((parameter) => parameter.grad!.data() as Promise<Float32Array>))
    for (const parameter of parameters) parameter.zeroGrad()
    return { loss, gradients }
  }
  const dispose = () => {
    for (const parameter of parameters) parameter.dispose()
    for (const layer of layers) layer.weight.dispose()
    fused.dispose()
    head.dispose()
  }
  return { run, dispose }
}

const mora =
  (operator: (typeof operators)[number], dropout: number) => (layer: { name: string; outFeatures: number }) =>
    new MoraLayer(
      { operator, scale: 1, foldOutput: false, dropout },
      { layer: { ...layer, inFeatures }, device, adapter: 'a' },
      new Parameter('matrix', tensor(side, side)),
    )
type Layer = { name: string; outFeatures: number }
const optionsOf = (layer: Layer) => ({ layer: { ...layer, inFeatures }, device, adapter: 'a' })
const a = () => new Parameter('a', tensor(3, inFeatures))
const b = ({ outFeatures }: Layer) => new Parameter('b', tensor(outFeatures, 3))
const lora =
  (dropout = 0) =>
  (layer: Layer) =>
    new LoraLayer(optionsOf(layer), dropout, 0.5, a(), b(layer))
const loraFa = (layer: Layer) => new LoraLayer(optionsOf(layer), 0, 0.5, a().freeze(), b(layer))
const hira = (layer: Layer) => layerOf(hiraMethod, hiraConfig(), optionsOf(layer), { hira_A: a(), hira_B: b(layer) })
const miss = (layer: Layer) => new MissLayer(optionsOf(layer), 0, new Parameter('block', tensor(layer.outFeatures, 5)))
const dora =
  (dropout = 0) =>
  (layer: Layer) => {
    const magnitude = new Parameter('m', Tensor.from(values(layer.outFeatures), [layer.outFeatures], { device }))
    return new DoraLayer(optionsOf(layer), dropout, 0.5, a(), b(layer), magnitude)
  }
const pissa = (layer: Layer) =>
  new PissaLayer(lora()(layer), new LoraLayer(optionsOf(layer), 0, 0.5, a().freeze(), b(layer).freeze()))

function distance(a: Float32Array, b: Float32Array): number {
  const norm = (values: Float32Array | number[]) => Math.hypot(...values)
  return norm(Array.from(a, (value, i) => value - b[i]!)) / norm(b)
}

const methods = [
  ...operators.map((operator) => ({ name: operator, make: mora(operator, 0), probability: 0 })),
  { name: 'rotation with dropout', make: mora('rotation', 0.3), probability: 0.3 },
  { name: 'lora', make: lora(), probability: 0 },
  { name: 'lora with dropout', make: lora(0.3), probability: 0.3 },
  { name: 'lora with a frozen A', make: loraFa, probability: 0 },
  { name: 'dora', make: dora(), probability: 0 },
  { name: 'dora with dropout', make: dora(0.3), probability: 0.3 },
  { name: 'pissa', make: pissa, probability: 0 },
  { name: 'miss', make: miss, probability: 0 },
  { name: 'hira', make: hira, probability: 0 },
]

// With many rows, ΔW joins the weight's own product if that pays; with few rows it is a product beside it.
describe.each(['float32', 'bfloat16'] as const)('linear layers in %s', (dtype) => {
  it.each(methods)('give the same for all rows at once and for 100 at a time: $name', async ({ make, probability }) => {
    const { run, dispose } = group(dtype, make)
    const [whole, parts] = [await run(rows, probability), await run(100, probability)]
    const tolerance = dtype === 'float32' ? 2e-6 : 1e-2
    expect(Math.abs(whole.loss / parts.loss - 1)).toBeLessThan(tolerance)
    for (const [i, gradient] of whole.gradients.entries()) {
      expect(distance(gradient, parts.gradients[i]!)).toBeLessThan(tolerance)
    }
    dispose()
  })
})
