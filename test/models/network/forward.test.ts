/** Hidden states and logits for custom objectives, against the model's own loss. */
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import type { Batch } from '../../../lib/batches/batch.js'
import { randomStream } from '../../../lib/common/random.js'
import type { Model } from '../../../lib/models/model.js'
import type { ModelOutput } from '../../../lib/models/network/model-output.js'
import type { FloatDType } from '../../../lib/native/addon.js'
import { type ForwardModel, tokenLogProbs } from '../../../lib/objectives/objective.js'
import { cast, exp, mul, square, sub } from '../../../lib/tensor/operations/arithmetic.js'
import { gather, gatherRows } from '../../../lib/tensor/operations/indexing.js'
import { logSoftmax, sum } from '../../../lib/tensor/operations/reductions.js'
import { scope } from '../../../lib/tensor/scope.js'
import { noGrad } from '../../../lib/tensor/tape.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { batchOf, expectedOf, loadTiny, type TinyModel, takeGradients, tinyModels } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

function batchFrom(name: TinyModel): Batch {
  const [first, second] = expectedOf(name).sequences as [number[], number[]]
  const labels = second.map((id, i) => (i % 3 === 1 ? -100 : id))
  return batchOf([{ input_ids: first }, { input_ids: second, labels }])
}

const targetsOf = ({ targets }: Batch) => targets.filter((target) => target >= 0)

/** A model with adapters that are not at zero, one of them on the head where it is untied. */
async function adapted(name: TinyModel, dtype: FloatDType = 'float32'): Promise<Model> {
  const model = await loadTiny(name, dtype)
  model.addAdapter('a', mora({ rank: 2, dropout: 0.3 }))
  const modules = name === 'tiny-untied' ? ['lm_head', 'q_proj'] : ['q_proj']
  model.addAdapter('b', lora({ rank: 2, targetModules: modules }))
  model.setActiveAdapters(['a', 'b'])
  const random = randomStream(5, 'test', 'forward')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.05 * random.normal()))
  return model
}

/** Returns the loss and the gradients of every trained tensor, and clears them. */
async function lossAndGradients(model: Model, loss: Tensor): Promise<[number, ...Float32Array[]]> {
  await loss.backward()
  const gradients: Float32Array[] = []
  for (const { parameter } of model.trainableParameters()) {
    gradients.push(await parameter.grad!.data())
    parameter.zeroGrad()
  }
  const value = await loss.item()
  loss.dispose()
  return [value, ...gradients]
}

/** Returns the gradients of every tensor that has one, by name, and clears them. */
async function gradientsThrough(model: Model, loss: Tensor): Promise<Map<string, Float32Array>> {
  await loss.backward()
  loss.dispose()
  return takeGradients(model)
}

function expectAlike([loss, ...gradients]: [number, ...Float32Array[]], wanted: [number, ...Float32Array[]]): void {
  expect(Math.abs(loss / wanted[0] - 1)).toBeLessThan(1e-5)
  for (const [i, values] of (wanted.slice(1) as Float32Array[]).entries()) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    expect(largest).toBeGreaterThan(0)
    const error = values.reduce((most, value, j) => Math.max(most, Math.abs(gradients[i]![j]! - value)), 0)
    expect(error).toBeLessThan(2e-4 * largest)
  }
}

const crossEntropyOf = (logits: Tensor, targets: Int32Array) => mul(sum(gather(logSoftmax(logits), targets)), -1)

describe.each(tinyModels)('%s', (name) => {
  const batch = batchFrom(name)

  test('the logits of all tokens give the golden log-probabilities', async () => {
    using model = await loadTiny(name)
    const [sequence] = expectedOf(name).sequences as [number[]]
    const whole = batchOf([{ input_ids: sequence }])
    const logProbs = scope(() => {
      const { hidden } = model.forward(whole)
      expect(hidden.shape).toEqual([sequence.length, model.config.hiddenSize])
      const logits = model.forward(whole).logits(0, sequence.length - 1)
      return gather(logSoftmax(logits), sequence.slice(1))
    })
    const got = await logProbs.data()
    for (const [i, value] of expectedOf(name).logprobs[0]!.entries()) expect(got[i]).toBeCloseTo(value, 3)
    logProbs.dispose()
  })

  test.each([
    { how: 'plainly', checkpointing: false, dropout: null },
    { how: 'with gradient checkpointing and dropout', checkpointing: true, dropout: { seed: 3, step: 1 } },
  ])(
    'hand-written cross-entropy has the loss and gradients of model.loss, $how',
    async ({ checkpointing, dropout }) => {
      using model = await adapted(name)
      model.gradientCheckpointing = checkpointing
      model.setDropout(dropout)
      const wanted = await lossAndGradients(model, model.loss(batch).loss)
      const targets = targetsOf(batch)
      const whole = () => scope(() => crossEntropyOf(model.forward(batch, { rows: 'targets' }).logits(), targets))
      expectAlike(await lossAndGradients(model, whole()), wanted)
      const chunked = () =>
        scope(() =>
          model
            .forward(batch, { rows: 'targets' })
            .sumOverLogits((logits, from, to) => crossEntropyOf(logits, targets.slice(from, to))),
        )
      expectAlike(await lossAndGradients(model, chunked()), wanted)
    },
  )

  test.each([
    { temperature: 1, dtype: 'float32' },
    { temperature: 0.7, dtype: 'float32' },
    { temperature: 1.3, dtype: 'bfloat16' },
  ] as const)(
    'tokenLogProbs has the gradients of whole logits, at $temperature in $dtype',
    async ({ temperature, dtype }) => {
      using model = await adapted(name, dtype)
      const targets = targetsOf(batch)
      // Each log-probability has a factor of its own.
      const factors = () =>
        Tensor.from(
          Float32Array.from(targets, (_, i) => Math.sin(3 * i) - 0.4),
          [targets.length],
          { device: model.device },
        )
      const whole = scope(() => {
        const logits = model.forward(batch, { rows: 'targets' }).logits()
        return sum(mul(gather(logSoftmax(mul(logits, 1 / temperature)), targets), factors()))
      })
      const wanted = await lossAndGradients(model, whole)
      const logProbs = await tokenLogProbs(model, batch, { temperature })
      const parts = scope(() => sum(mul(logProbs, factors())))
      logProbs.dispose()
      const got = await lossAndGradients(model, parts)
      if (dtype === 'float32') expectAlike(got, wanted)
      else {
        for (const [i, values] of (wanted.slice(1) as Float32Array[]).entries()) {
          const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
          const error = values.reduce(
            (most, value, j) => Math.max(most, Math.abs((got[i + 1] as Float32Array)[j]! - value)),
            0,
          )
          expect(error).toBeLessThan(0.05 * largest)
        }
      }
    },
  )

  test('tokenLogProbs without gradients has the values of model.tokenLogProbs', async () => {
    using model = await adapted(name)
    using logProbs = await tokenLogProbs(model, batch, { gradients: false })
    expect(logProbs.requiresGrad).toBe(false)
    expect(await logProbs.data()).toEqual(await model.tokenLogProbs(batch))
    using none = await tokenLogProbs(model, batchOf([{ input_ids: [1, 2], labels: [-100, -100] }]))
    expect(none.shape).toEqual([0])
  })

  test('tokenLogProbs with the head trained whole', async () => {
    using model = await loadTiny(name)
    model.addAdapter('c', lora({ rank: 2, modulesToSave: ['head'] }))
    const targets = targetsOf(batch)
    const whole = scope(() => sum(gather(logSoftmax(model.forward(batch, { rows: 'targets' }).logits()), targets)))
    const wanted = await gradientsThrough(model, whole)
    const logProbs = await tokenLogProbs(model, batch)
    const got = await gradientsThrough(
      model,
      scope(() => sum(logProbs)),
    )
    logProbs.dispose()
    expect(wanted.size).toBeGreaterThan(1)
    for (const [of, values] of wanted) {
      const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      const error = values.reduce((most, value, j) => Math.max(most, Math.abs(got.get(of)![j]! - value)), 0)
      expect(error, of).toBeLessThan(2e-4 * largest + 1e-12)
    }
  })
})

/** Cross-entropy as an objective on hidden states and logits. */
async function lossOfStates(model: ForwardModel, batch: Batch, gradients: boolean): Promise<Tensor> {
  const states = await model.forwardAsync(batch, { rows: 'targets', gradients })
  const targets = targetsOf(batch)
  const body: Parameters<ModelOutput['sumOverLogits']>[0] = (logits, from, to) =>
    crossEntropyOf(logits, targets.slice(from, to))
  const loss = gradients ? states.sumOverLogits(body) : noGrad(() => states.sumOverLogits(body))
  states.dispose()
  return loss
}

test('an objective gets hidden states and logits across turns of the event loop, with gradients if it wants them', async () => {
  using model = await adapted('tiny-untied')
  const batch = batchFrom('tiny-untied')
  const wanted = await lossAndGradients(model, model.loss(batch).loss)
  let turns = 0
  let counting = setImmediate(function count() {
    turns++
    counting = setImmediate(count)
  })
  const loss = await lossOfStates(model, batch, true)
  clearImmediate(counting)
  expect(turns).toBeGreaterThan(0)
  expectAlike(await lossAndGradients(model, loss), wanted)
  const plain = await lossOfStates(model, batch, false)
  expect(plain.requiresGrad).toBe(false)
  expect(Math.abs((await plain.item()) / wanted[0] - 1)).toBeLessThan(1e-5)
  plain.dispose()
  await expect(model.forwardAsync(batch, { gradients: 1 as never })).rejects.toThrow(/for gradients but received 1/)
})

test('a scope returns the results of a pass', async () => {
  using model = await adapted('tiny-untied')
  const batch = batchFrom('tiny-untied')
  const output = scope(() => model.forward(batch, { rows: [3] }))
  const logits = output.logits()
  expect(logits.shape).toEqual([1, model.config.vocabularySize])
  logits.dispose()
  output.dispose()
})

test('rows of one number equal those that gatherRows picks from all', async () => {
  using model = await adapted('tiny-untied')
  const batch = batchFrom('tiny-untied')
  const difference = scope(() => {
    const picked = model.forward(batch, { rows: [5, 0, 7] }).hidden
    return sum(square(sub(picked, gatherRows(model.forward(batch).hidden, [5, 0, 7]))))
  })
  expect(await difference.item()).toBeLessThan(1e-10)
  difference.dispose()
})

test('the teacher is the base model: no divergence from itself, and a gradient of the student alone', async () => {
  using model = await adapted('tiny-untied')
  const batch = batchFrom('tiny-untied')
  const divergence = (student: string[]) =>
    scope(() => {
      model.setActiveAdapters([])
      const teacher = noGrad(() => model.forward(batch, { rows: 'targets' }))
      model.setActiveAdapters(student)
      const output = model.forward(batch, { rows: 'targets' })
      // The head is the one of the pass, whatever is active when logits are computed.
      model.setActiveAdapters(['a', 'b'])
      return output.sumOverLogits((logits, from, to) => {
        const logP = logSoftmax(teacher.logits(from, to))
        return sum(mul(exp(logP), sub(logP, logSoftmax(logits))))
      })
    })
  const none = divergence([])
  expect(Math.abs(await none.item())).toBeLessThan(1e-4)
  expect(none.requiresGrad).toBe(false)
  none.dispose()
  const [value, ...gradients] = await lossAndGradients(model, divergence(['a', 'b']))
  expect(value).toBeGreaterThan(1e-3)
  for (const gradient of gradients) expect(gradient.some((each) => each !== 0)).toBe(true)
})

test('outside of a scope, dispose frees the results of a pass', async () => {
  using model = await adapted('tiny-untied')
  const batch = batchFrom('tiny-untied')
  model.forward(batch).dispose()
  await model.device.synchronize()
  const before = liveBytes(model.device)
  const output = model.forward(batch)
  output.dispose()
  model.setActiveAdapters([])
  {
    using base = model.forward(batch, { rows: 'targets' })
    const logits = base.logits(1, 3)
    expect(logits.shape).toEqual([2, model.config.vocabularySize])
    logits.dispose()
  }
  await model.device.synchronize()
  expect(liveBytes(model.device)).toBe(before)
  expect(() => model.forward(batch, { rows: [1000] })).toThrow(
    /^Expected whole numbers from 0 to \d+ for rows but received 1000/,
  )
  expect(() => model.forward(batch, { rows: 'none' as never })).toThrow(
    /^Expected one of all, targets or a list of whole numbers/,
  )
  await model.device.synchronize()
  expect(liveBytes(model.device)).toBe(before)
})

test('in bfloat16, hidden states are cast for arithmetic in float32', async () => {
  using model = await loadTiny('tiny-untied', 'bfloat16')
  const total = scope(() => sum(square(cast(model.forward(batchFrom('tiny-untied')).hidden, 'float32'))))
  expect(await total.item()).toBeGreaterThan(0)
  total.dispose()
})
