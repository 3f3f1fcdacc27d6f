/** Dynamic fine-tuning: its loss and gradients in float64's terms, packed and cut into passes, and resumed bit for bit. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import type { Batch } from '../../lib/batches/batch.js'
import { randomStream } from '../../lib/common/random.js'
import type { Model } from '../../lib/models/model.js'
import { dft } from '../../lib/objectives/dft.js'
import { logitsBytes } from '../../lib/tensor/operations/loss.js'
import { train } from '../../lib/train/train.js'
import { largestDifference, largestOf } from '../golden/files.js'
import { batchOf, expectedOf, loadTiny, takeGradients } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const { sequences } = expectedOf('tiny-untied')
/** Some tokens have no target. */
const rows = sequences.map((ids) => ({ input_ids: ids, labels: ids.map((id, i) => (i % 3 === 1 ? -100 : id)) }))
const batch = batchOf(rows)

/** A tiny model with a random adapter. */
async function adapted(): Promise<Model> {
  const model = await loadTiny('tiny-untied')
  model.addAdapter('a', mora({ rank: 2 }))
  const random = randomStream(3, 'dft')
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.1 * random.normal()))
  }
  return model
}

async function lossOf(model: Model, of: Batch, gradients = true): Promise<number> {
  const { loss, weight } = await dft.loss(model, of, { gradients })
  expect(weight).toBe(of.targetTokens)
  if (gradients) await loss.backward()
  const value = await loss.item()
  loss.dispose()
  return value
}

async function gradientsThrough(model: Model, batches: readonly Batch[]): Promise<Float32Array[]> {
  for (const one of batches) await lossOf(model, one)
  return [...(await takeGradients(model)).values()]
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0)

test('the loss is the sum of -p ln p over the targets', async () => {
  using model = await adapted()
  const logProbs = await model.tokenLogProbs(batch)
  const wanted = sum(logProbs.map((logP) => -logP * Math.exp(logP)))
  for (const gradients of [true, false]) {
    expect(Math.abs((await lossOf(model, batch, gradients)) / wanted - 1)).toBeLessThan(1e-5)
  }
})

test('gradients are those of finite differences with the weights held constant', async () => {
  using model = await adapted()
  const gradients = await gradientsThrough(model, [batch])
  const weights = (await model.tokenLogProbs(batch)).map(Math.exp)
  const heldLoss = async () => sum((await model.tokenLogProbs(batch)).map((logP, i) => -weights[i]! * logP))
  for (const [at, { parameter }] of model.trainableParameters().entries()) {
    const gradient = gradients[at]!
    const norm = Math.sqrt(sum(gradient.map((value) => value ** 2)))
    expect(norm, parameter.name).toBeGreaterThan(0)
    const values = await parameter.data()
    const step = 0.2 / (norm + 5)
    const lossAt = (distance: number) => {
      parameter.assign(values.map((value, i) => value + (distance * gradient[i]!) / norm))
      return heldLoss()
    }
    const [ahead, behind] = [await lossAt(step), await lossAt(-step)]
    const [further, back] = [await lossAt(2 * step), await lossAt(-2 * step)]
    parameter.assign(values)
    const slope = (8 * (ahead - behind) - (further - back)) / (12 * step)
    expect(Math.abs(slope / norm - 1), parameter.name).toBeLessThan(2e-3)
  }
})

test('a packed batch is the sum of its rows', async () => {
  using model = await adapted()
  const whole = await gradientsThrough(model, [batch])
  const apart = await gradientsThrough(
    model,
    rows.map((row) => batchOf([row])),
  )
  const largest = Math.max(...whole.map(largestOf))
  for (const [i, gradient] of whole.entries()) {
    expect(largestDifference(gradient, apart[i]!) / largest).toBeLessThan(1e-5)
  }
})

test('logits are never whole in memory', async () => {
  using model = await adapted()
  const states = await model.forwardAsync(batch, { rows: 'targets', gradients: true })
  const seen: number[] = []
  const watched = {
    ...states,
    sumOverLogits: (body: Parameters<typeof states.sumOverLogits>[0]) =>
      states.sumOverLogits((logits, from, to) => {
        seen.push(logits.elements)
        return body(logits, from, to)
      }),
    dispose: () => states.dispose(),
  }
  const { loss } = await dft.loss({ ...model, forwardAsync: async () => watched } as never, batch, { gradients: false })
  loss.dispose()
  expect(4 * Math.max(...seen)).toBeLessThanOrEqual(logitsBytes(model.device, model.config.vocabularySize))
})

test('a run is the same in micro-batches and, resumed, bit for bit', async () => {
  const data = join(folder(), 'rows.jsonl')
  writeFileSync(data, rows.map(({ input_ids, labels }) => JSON.stringify({ input_ids, labels })).join('\n'))
  const course = { data, objective: 'dft', rank: 2, batchSize: 4, scheduler: 'constant', seed: 3 } as const
  const run = async (name: string, changes: object) => {
    using model = await loadTiny('tiny-untied')
    const losses: number[] = []
    const onEvent = (event: { type: string; loss?: number | null }) => {
      if (event.type === 'step') losses.push(event.loss!)
    }
    await train(model, { ...course, output: join(folder(), name), onEvent, ...changes }).finished
    const trained = model.trainableParameters().map(({ parameter }) => parameter.data())
    return { losses, values: (await Promise.all(trained)) as Float32Array[] }
  }
  const whole = await run('whole', { maxSteps: 4 })
  const cut = await run('cut', { maxSteps: 4, microBatchSize: 1 })
  for (const [i, loss] of cut.losses.entries()) expect(Math.abs(loss / whole.losses[i]! - 1)).toBeLessThan(1e-5)
  await run('half', { maxSteps: 2 })
  const rest = await run('half', { maxSteps: 4, resume: true })
  expect(rest.losses).toEqual(whole.losses.slice(2))
  expect(rest.values).toEqual(whole.values)
})
