/** Checkpoints of a loop of one's own: a loop that continues from one has the same bits as one that never stopped. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { mora } from '../../../lib/adapters/methods/mora.js'
import { DataLoader } from '../../../lib/batches/loader.js'
import { randomStream } from '../../../lib/common/random.js'
import type { Model } from '../../../lib/models/model.js'
import { AdamW } from '../../../lib/optim/adamw.js'
import { mul } from '../../../lib/tensor/operations/arithmetic.js'
import { sum } from '../../../lib/tensor/operations/reductions.js'
import { Parameter } from '../../../lib/tensor/parameter.js'
import { scope } from '../../../lib/tensor/scope.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { loadCheckpoint, newestIntactCheckpoint, saveCheckpoint } from '../../../lib/train/index.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const folder = useTemporaryFolder()
const rows = Array.from({ length: 7 }, (_, row) => ({
  ids: Array.from({ length: 5 + row }, (_, i) => (row * 31 + i * 17) % 384),
}))

interface Loop {
  model: Model
  optimizer: AdamW
  loader: DataLoader
  random: ReturnType<typeof randomStream>
  /** A parameter of the loop itself, which scales the loss. */
  own: Parameter
}

async function withLoop<Result>(body: (loop: Loop) => Promise<Result>): Promise<Result> {
  const model = await loadTiny('tiny-untied')
  await model.addAdapter('a', mora({ rank: 2, dropout: 0.1 }))
  const own = new Parameter('own.scale', Tensor.from([1], [1], { device: model.device }))
  const optimizer = new AdamW([...model.trainableParameters().map(({ parameter }) => parameter), own])
  const loader = new DataLoader(rows, { batchSize: 2, seed: 3, epochs: 2 })
  try {
    return await body({ model, optimizer, loader, own, random: randomStream(9, 'loop') })
  } finally {
    optimizer.dispose()
    own.dispose()
    model.dispose()
  }
}

/** Trains until the data ends or `until`; each step reads a normal number. Returns the losses. */
async function run(loop: Loop, step: number, until: number, save?: string): Promise<number[]> {
  const { model, optimizer, loader, random, own } = loop
  const losses: number[] = []
  for await (const batch of loader) {
    model.setDropout({ seed: 1, step })
    const { loss, targetTokens } = model.loss(batch)
    const scaled = scope(() => mul(sum(mul(loss, own)), 1 + 0.1 * random.normal()))
    loss.dispose()
    await scaled.backward()
    losses.push(await scaled.item())
    scaled.dispose()
    optimizer.step({ learningRate: 1e-2, scaleGradients: 1 / targetTokens }).dispose()
    step++
    if (save) await saveCheckpoint(save, { ...loop, step, values: { losses } })
    if (step === until) break
  }
  return losses
}

const valuesOf = ({ model, own }: Loop) =>
  Promise.all([...model.trainableParameters().map(({ parameter }) => parameter), own].map((one) => one.data()))

test('a loop that continues has the bits of one that never stopped', async () => {
  const whole = await withLoop(async (loop) => ({ losses: await run(loop, 0, 100), values: await valuesOf(loop) }))
  expect(whole.losses).toHaveLength(7)
  const checkpoints = join(folder(), 'checkpoints')
  const before = await withLoop((loop) => run(loop, 0, 3, checkpoints))
  const found = await newestIntactCheckpoint(checkpoints, (message) => expect.fail(message))
  expect(found).toBe(join(checkpoints, 'step-000003'))
  const after = await withLoop(async (loop) => {
    const { step, values } = await loadCheckpoint(found!, loop)
    expect({ step, values }).toEqual({ step: 3, values: { losses: before } })
    return { losses: await run(loop, step, 100), values: await valuesOf(loop) }
  })
  expect([...before, ...after.losses]).toEqual(whole.losses)
  expect(after.values).toEqual(whole.values)
})

test('a checkpoint is an adapter’s folder where one adapter is active, and is complete or not there', async () => {
  await withLoop(async (loop) => {
    await run(loop, 0, 1)
    const path = await saveCheckpoint(folder(), { ...loop, step: 1 })
    using other = await loadTiny('tiny-untied')
    await other.loadAdapter(path, 'a')
    const valuesIn = (model: Model) =>
      Promise.all(model.trainableParameters().map(async ({ name, parameter }) => [name, await parameter.data()]))
    expect(await valuesIn(other)).toEqual(await valuesIn(loop.model))
    await loop.model.addAdapter('b', lora({ rank: 1 }))
    loop.model.setActiveAdapters(['a', 'b'])
    const both = await saveCheckpoint(folder(), { ...loop, step: 2 })
    expect(existsSync(join(both, 'adapter_config.json'))).toBe(false)
    // A step that is saved again is replaced.
    expect(await saveCheckpoint(folder(), { ...loop, step: 2 })).toBe(both)
    loop.own.assign(Float32Array.of(Number.NaN))
    await expect(saveCheckpoint(folder(), { ...loop, step: 3 })).rejects.toMatchObject({ code: 'non-finite' })
    expect(existsSync(join(folder(), 'step-000003'))).toBe(false)
    expect(await newestIntactCheckpoint(folder(), () => {})).toBe(both)
  })
})

describe('a sentence for', () => {
  test('checkpoints and loops that do not fit', async () => {
    await withLoop(async (loop) => {
      const path = await saveCheckpoint(folder(), { ...loop, step: 1 })
      const { loader: _, ...without } = loop
      const error = (code: string, message: RegExp) =>
        expect.objectContaining({ code, message: expect.stringMatching(message) })
      await expect(loadCheckpoint(path, without)).rejects.toThrow(
        error('unfit-checkpoint', /step-000001 has a state of the loader, but none is given to continue it\.$/),
      )
      const { random: __, ...plain } = loop
      const second = await saveCheckpoint(folder(), { ...plain, step: 2 })
      await expect(loadCheckpoint(second, loop)).rejects.toThrow(
        error('unfit-checkpoint', /has no state of the random stream, but one is given to continue it\.$/),
      )
      await expect(loadCheckpoint(path, { ...loop, random: randomStream(10, 'loop') })).rejects.toThrow(
        error('unfit-state', /^Expected the state of a stream with the key \d+, \d+ but received one of/),
      )
      using other = await loadTiny('tiny-untied')
      await other.addAdapter('a', mora({ rank: 2 }))
      await expect(loadCheckpoint(path, { ...loop, model: other })).rejects.toThrow(
        error('bad-value', /^Two trained parameters have the name /),
      )
      other.removeAdapter('a')
      await other.addAdapter('a', lora({ rank: 1 }))
      const optimizer = new AdamW(other.trainableParameters().map(({ parameter }) => parameter))
      await expect(loadCheckpoint(path, { ...loop, model: other, optimizer })).rejects.toThrow(
        error('unfit-checkpoint', /holds .* but this run trains/),
      )
      optimizer.dispose()
      for (const values of [{ at: 3n }, { at: Number.NaN }, { at: () => {} }]) {
        await expect(saveCheckpoint(folder(), { ...loop, step: 4, values })).rejects.toThrow(
          error('bad-value', /^Expected an object that is the same after JSON for values/),
        )
      }
      writeFileSync(
        join(path, 'loop.json'),
        readFileSync(join(path, 'loop.json'), 'utf8').replace('"step": 1', '"step": 7'),
      )
      await expect(loadCheckpoint(path, loop)).rejects.toThrow(
        error('torn-checkpoint', /loop\.json has another sha256 than when it was written\.$/),
      )
      const empty = join(folder(), 'empty')
      mkdirSync(empty)
      await expect(loadCheckpoint(empty, loop)).rejects.toThrow(error('torn-checkpoint', /manifest\.json is missing/))
    })
  })
})

test('a random stream continues where it was', () => {
  for (let read = 0; read < 12; read++) {
    const [whole, first, second] = [1, 2, 3].map(() => randomStream(4, 'stream')) as [Stream, Stream, Stream]
    const next = (stream: Stream, i: number) => [stream.normal(), stream.uint32(), stream.uniform()][i % 3]!
    const draw = (stream: Stream, i: number) =>
      i % 4 === 3 ? stream.uint32() : i % 4 === 2 ? stream.uniform() : stream.normal()
    const all = Array.from({ length: 24 }, (_, i) => draw(whole, i))
    for (let i = 0; i < read; i++) draw(first, i)
    second.load(JSON.parse(JSON.stringify(first.state())))
    expect(Array.from({ length: 24 - read }, (_, i) => draw(second, read + i))).toEqual(all.slice(read))
    expect(next(second, 0)).toEqual(next(whole, 0))
  }
})
type Stream = ReturnType<typeof randomStream>
