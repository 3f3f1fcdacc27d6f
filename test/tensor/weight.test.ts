/** A weight in a custom form, the sum of two tensors, does whatever floats of the same values do. */
import { afterAll, expect, test } from 'vitest'
import { doraMethod } from '../../lib/adapters/methods/dora.js'
import { hiraMethod } from '../../lib/adapters/methods/hira.js'
import { loraMethod } from '../../lib/adapters/methods/lora.js'
import { pissaMethod } from '../../lib/adapters/methods/pissa.js'
import { newAdapterConfig } from '../../lib/adapters/new-adapter.js'
import { adapterMethod } from '../../lib/adapters/registry.js'
import { LayerMaker } from '../../lib/adapters/tensors/layer-maker.js'
import { randomStream } from '../../lib/common/random.js'
import { MergedWeights } from '../../lib/models/adaptation/merged-weights.js'
import { WeightSlot } from '../../lib/models/network/weight-slot.js'
import { type FloatDType, native } from '../../lib/native/addon.js'
import { Linear } from '../../lib/nn/linear.js'
import { LinearInput } from '../../lib/nn/linear-input.js'
import { ADAPTER_METHODS } from '../../lib/options/index.js'
import { embedding } from '../../lib/tensor/operations/indexing.js'
import { updatedLinear, updateLinear } from '../../lib/tensor/operations/linear.js'
import { weightCrossEntropy } from '../../lib/tensor/operations/loss.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { runSteps } from '../../lib/tensor/steps.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { type Weight, weightOf } from '../../lib/tensor/weight.js'
import { largestDifference } from '../golden/files.js'
import { liveBytes } from '../live-bytes.js'
import { lacksCpu, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const [tokens, features] = [6, 9]
const random = randomStream(1, 'test', 'weight')
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal() / 2)
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

class SumOfTwo implements Weight {
  readonly [Symbol.dispose] = () => this.dispose()
  readonly floats = null
  readonly parameter = null
  readonly storage = 'mxfp4'
  readonly device = device

  /** How often the values of such weights were requested. */
  static unpackings = 0

  constructor(readonly tensors: readonly [Tensor, Tensor]) {}

  get shape(): readonly number[] {
    return this.tensors[0].shape
  }

  get disposed(): boolean {
    return this.tensors[0].disposed
  }

  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    const [a, b] = this.tensors
    native.matmul({ a: x.native, b: a.native, transposeB: true, c: target.native, alpha: scale, accumulate })
    native.matmul({ a: x.native, b: b.native, transposeB: true, c: target.native, alpha: scale, accumulate: true })
  }

  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    const [a, b] = this.tensors
    native.matmul({ a: dY.native, b: a.native, c: target.native, alpha: scale, accumulate })
    native.matmul({ a: dY.native, b: b.native, c: target.native, alpha: scale, accumulate: true })
  }

  lookUp(ids: Tensor, y: Tensor): void {
    native.embedding(this.values('float32').native, ids.native, y.native)
  }

  unpacked(): Weight {
    return this
  }

  values(dtype: FloatDType): Tensor {
    SumOfTwo.unpackings++
    const sum = Tensor.empty(this.shape, { device, dtype })
    sum.copyFrom(this.tensors[0])
    native.add(this.tensors[1].native, sum.native, 1)
    return sum
  }

  async data(): Promise<Float32Array> {
    using values = this.values('float32')
    return (await values.data()) as Float32Array
  }

  rows(from: number, to: number): Weight {
    const [a, b] = this.tensors
    return new SumOfTwo([a.rows(from, to), b.rows(from, to)])
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose()
  }
}

const forms: Record<string, (one: Float32Array, other: Float32Array, shape: readonly number[]) => Weight> = {
  floats: (one, other, shape) =>
    weightOf(
      Tensor.from(
        one.map((value, i) => Math.fround(value + other[i]!)),
        shape,
        { device },
      ),
    ),
  sum: (one, other, shape) =>
    new SumOfTwo([Tensor.from(one, shape, { device }), Tensor.from(other, shape, { device })]),
}
const methods = { lora: loraMethod, dora: doraMethod, hira: hiraMethod, pissa: pissaMethod }

test.each(Object.keys(methods) as (keyof typeof methods)[])('embeddings, layers with %s and the head', async (name) => {
  const method = methods[name]
  const halves = [0, 1, 2].map(() => [normal(features ** 2), normal(features ** 2)] as const)
  const shape = [features, features]
  const results: Float32Array[][] = []
  for (const form of Object.values(forms)) {
    const [table, own, head] = halves.map(([one, other]) => form(one, other, shape)) as [Weight, Weight, Weight]
    const layers = [new Linear('embedded', table, null), new Linear('layer', own, null), new Linear('head', head, null)]
    const config = newAdapterConfig(name, { rank: 2 } as never)
    const parameters: Parameter[] = []
    for (const layer of layers) {
      const maker = new LayerMaker(method as never, config, [layer])
      const made = await maker.create({ layer, device, adapter: 'a' }, 3, layer.weight)
      for (const parameter of made.parameters) {
        const moved = (await parameter.data()) as Float32Array
        parameter.assign(moved.map((value, i) => value + Math.sin(i + 1) / 8))
      }
      parameters.push(...made.parameters)
      layer.adapters.set('a', { layer: made, active: true, scale: 1 })
    }
    const loss = scope(() => {
      const ids = Tensor.from(Int32Array.of(0, 3, 8, 3, 1, 5), [tokens], { device, dtype: 'int32' })
      const x = embedding(layers[0]!.adaptedWeight(), ids, 'float32')
      const y = layers[1]!.forward(new LinearInput(x))
      return runSteps(weightCrossEntropy(y, layers[2]!.adaptedWeight(), ids, { scale: 1, softcap: null }))
    })
    // The tape keeps what the backward pass reads.
    for (const { weight } of layers) weight.dispose()
    await loss.backward()
    const gradients = await Promise.all(parameters.map(({ grad }) => grad!.data() as Promise<Float32Array>))
    results.push([Float32Array.of(await loss.item()), ...gradients])
    loss.dispose()
    for (const { adapters } of layers) adapters.get('a')!.layer.dispose()
  }
  const [floats, sum] = results as [Float32Array[], Float32Array[]]
  expect(floats.length).toBeGreaterThan(6)
  for (const [i, values] of sum.entries()) {
    expect(floats[i]!.some((value) => Math.abs(value) > 1e-3)).toBe(true)
    expect(largestDifference(values, floats[i]!)).toBeLessThan(2e-5)
  }
})

test.each(ADAPTER_METHODS)('beside %s it is unpacked only if ΔW depends on it', async (name) => {
  // OFT's blocks and GraLoRA's parts divide it.
  const side = 8
  const layer = new Linear('layer', forms.sum!(normal(side ** 2), normal(side ** 2), [side, side]), null)
  using head = forms.floats!(normal(side ** 2), normal(side ** 2), [side, side])
  const maker = new LayerMaker(adapterMethod(name) as never, newAdapterConfig(name, { rank: 2 } as never), [layer])
  const adapter = await maker.create({ layer, device, adapter: 'a' }, 3, layer.weight)
  layer.adapters.set('a', { layer: adapter, active: true, scale: 1 })
  const x = new Parameter('x', Tensor.from(normal(tokens * side), [tokens, side], { device }))
  const unpackings = async (forward: (input: LinearInput) => Tensor) => {
    SumOfTwo.unpackings = 0
    const loss = scope(() => {
      const targets = Tensor.from(new Int32Array(tokens), [tokens], { device, dtype: 'int32' })
      return runSteps(weightCrossEntropy(forward(new LinearInput(x)), head, targets, { scale: 1, softcap: null }))
    })
    await loss.backward()
    loss.dispose()
    return SumOfTwo.unpackings
  }
  const isRead = ['dora', 'hira', 'oft'].includes(name)
  const update = adapter.weightUpdate(1)
  // ΔW is made by itself, as an adapter with dropout is: in the forward pass, and once for the gradients.
  if (update) expect(await unpackings(({ x }) => updateLinear(x, layer.weight, update))).toBe(isRead ? 2 : 0)
  else expect(name).toBe('mora')
  // W + ΔW in one product: W for the product, and once for its gradient.
  if (update) {
    const whole = { ...update, from: 0, to: side }
    expect(await unpackings(({ x }) => updatedLinear(x, layer.weight, [whole]))).toBe(2)
  }
  for (const made of [x, adapter, layer.weight]) made.dispose()
})

test('layers multiply with it alone, frozen, and the head too', async () => {
  const halves = [0, 1].map(() => [normal(features ** 2), normal(features ** 2)] as const)
  const start = normal(tokens * features)
  const results: Float32Array[][] = []
  for (const form of Object.values(forms)) {
    const [own, head] = halves.map(([one, other]) => form(one, other, [features, features])) as [Weight, Weight]
    const x = new Parameter('x', Tensor.from(start, [tokens, features], { device }))
    const loss = scope(() => {
      const targets = Tensor.from(Int32Array.of(0, 3, 8, 3, 1, 5), [tokens], { device, dtype: 'int32' })
      const y = new Linear('layer', own, null).forward(new LinearInput(x))
      return runSteps(weightCrossEntropy(y, head, targets, { scale: 1, softcap: null }))
    })
    for (const weight of [own, head]) weight.dispose()
    await loss.backward()
    results.push([Float32Array.of(await loss.item()), (await x.grad!.data()) as Float32Array])
    for (const tensor of [loss, x]) tensor.dispose()
  }
  for (const [i, values] of results[1]!.entries()) expect(largestDifference(values, results[0]![i]!)).toBeLessThan(1e-5)
})

needing(lacksCpu).test.each([200, 3000])(
  'neither values of a head in blocks nor the logits of %i rows are ever whole',
  async (rows) => {
    const [vocabulary, width] = [9600, 96]
    const values = normal(vocabulary * width)
    const shape = [vocabulary, width]
    const handle = native.fromArray(device, 'q8_0', shape, native.quantise('q8_0', values, width, null, 1))
    using blocks = weightOf(new Tensor(handle, device, 'q8_0', shape, [width, 1]))
    const x = new Parameter('x', Tensor.from(normal(rows * width), [rows, width], { device }))
    const targets = Tensor.from(new Int32Array(rows), [rows], { device, dtype: 'int32' })
    await device.synchronize()
    const { inUse } = device.memory()
    device.resetPeak()
    const loss = scope(() => runSteps(weightCrossEntropy(x, blocks, targets, { scale: 1, softcap: null })))
    const taken = device.memory().peak - inUse
    const [hiddenBytes, valueBytes, logitBytes] = [rows * width, vocabulary * width, 2048 * vocabulary].map(
      (n) => 4 * n,
    )
    expect(taken - 3 * hiddenBytes!).toBeLessThan(0.3 * valueBytes! + 0.12 * logitBytes!)
    for (const tensor of [loss, x, targets]) tensor.dispose()
  },
)

test('merging refuses weights that are not floats', async () => {
  using weight = forms.sum!(normal(6), normal(6), [2, 3])
  const slot = WeightSlot.ofWeight('layer.weight', { weight }, 'weight')
  const edits = new Map([[slot, () => expect.unreachable()]])
  const merging = new MergedWeights({ device, source: null, slots: [slot] }).changeForGood(edits)
  await expect(merging).rejects.toThrow(/^Merging would change layer\.weight, which is kept in its block format mxfp4/)
})
