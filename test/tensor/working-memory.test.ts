/** Memory of operations beside their inputs and results. */
import { afterAll, expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { gatedActivation } from '../../lib/tensor/operations/activation.js'
import { cast, mul } from '../../lib/tensor/operations/arithmetic.js'
import { linearCrossEntropy, logitsBytes, targetLogProbs } from '../../lib/tensor/operations/loss.js'
import { sections } from '../../lib/tensor/operations/mora.js'
import { sum } from '../../lib/tensor/operations/reductions.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { runSteps } from '../../lib/tensor/steps.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { liveBytes } from '../live-bytes.js'
import { lack, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const values = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i))
const parameter = (...shape: [number, number]) =>
  new Parameter('p', Tensor.from(values(shape[0] * shape[1]), shape, { device }))

afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

test('folded sections are made for each product, and not kept', () => {
  const plan = { inFeatures: 32, outFeatures: 24, side: 8, rotate: true, truncate: false, foldOutput: false }
  using matrix = parameter(8, 8)
  const before = liveBytes(device)
  const keptBy = (rows: number) => {
    using x = Tensor.zeros([rows, 32], { device })
    noGrad(() => sections(x, matrix, plan)).dispose()
    return liveBytes(device) - before - x.elements * 4
  }
  for (const rows of [1, 2]) expect(keptBy(rows)).toBeLessThanOrEqual(0)
})

test.each(['bfloat16', 'float16'] as const)(
  'the gradient of %s logits equals that of separate products, and on a CPU takes no further memory',
  async (dtype) => {
    const [rows, width, vocabulary] = [64, 8, 16_384]
    using weights = parameter(rows, width)
    using hidden = cast(weights, dtype)
    using head = parameter(vocabulary, width) // logits of a trained one are whole rows
    const cast16 = head.as(dtype)
    using targets = Tensor.from(
      Int32Array.from({ length: rows }, (_, i) => 31 * i),
      [rows],
      { device, dtype: 'int32' },
    )
    const logitBytes = 4 * rows * vocabulary
    expect(logitBytes).toBeLessThan(logitsBytes(device, vocabulary))
    await device.synchronize()
    const { inUse } = device.memory()
    device.resetPeak()
    const loss = scope(() => linearCrossEntropy(hidden, head, targets))
    if (device.kind === 'cpu') expect(device.memory().peak - inUse).toBeLessThan(1.1 * logitBytes + 4 * head.elements)
    await loss.backward()

    using logits = Tensor.empty([rows, vocabulary], { device })
    using losses = Tensor.empty([rows], { device })
    using dLogits = Tensor.empty([rows, vocabulary], { device, dtype })
    using dHidden = Tensor.empty([rows, width], { device, dtype })
    native.matmul({ a: hidden.native, b: cast16.native, transposeB: true, c: logits.native })
    native.crossEntropy(logits.native, targets.native, 0, losses.native, dLogits.native)
    native.matmul({ a: dLogits.native, b: cast16.native, c: dHidden.native })
    expect(await weights.grad!.data()).toEqual(await dHidden.data())
    loss.dispose()
  },
)

needing(lack('a device with crossEntropyPart', native.supports(device, 'crossEntropyPart', ['float32']))).test(
  'beside a frozen head, logits are made in parts of their columns, and evaluations keep none either',
  async () => {
    const [rows, width, vocabulary] = [256, 8, 16_384]
    using hidden = parameter(rows, width)
    using head = Tensor.from(values(vocabulary * width), [vocabulary, width], { device })
    using targets = Tensor.zeros([rows], { device, dtype: 'int32' })
    const peakOf = async (body: () => Tensor) => {
      await device.synchronize()
      const { inUse } = device.memory()
      device.resetPeak()
      scope(body).dispose()
      return device.memory().peak - inUse
    }
    const wholeBytes = 4 * rows * vocabulary
    expect(await peakOf(() => linearCrossEntropy(hidden, head, targets))).toBeLessThan(wholeBytes / 6)
    const form = { scale: 1, softcap: null }
    expect(
      await peakOf(() => noGrad(() => runSteps(targetLogProbs(hidden, weightOf(head), targets, form)))),
    ).toBeLessThan(wholeBytes / 6)
  },
)

test("the gradient of a gated activation reuses its input's memory, unless that is still in use", async () => {
  const [rows, width] = [256, 128]
  using start = parameter(rows, 2 * width)
  const gradientOf = async (held: boolean) => {
    const kept: Tensor[] = []
    const loss = scope(() => {
      const gateUp = mul(start, 2)
      if (held) kept.push(gateUp.retain())
      return sum(gatedActivation(gateUp, 'silu'))
    })
    start.ensureGrad()
    await device.synchronize()
    const { inUse } = device.memory()
    device.resetPeak()
    await loss.backward()
    const taken = (device.memory().peak - inUse) / (4 * rows * width)
    const before = (await kept[0]?.data()) ?? null
    const gradient = await start.grad!.data()
    for (const tensor of [loss, ...kept]) tensor.dispose()
    start.zeroGrad()
    return { taken, before, gradient }
  }
  const [alone, shared] = [await gradientOf(false), await gradientOf(true)]
  expect(alone.gradient).toEqual(shared.gradient)
  expect(shared.before).toEqual(values(2 * rows * width).map((value) => 2 * value))
  expect(shared.taken - alone.taken).toBeGreaterThan(1.9)
})
