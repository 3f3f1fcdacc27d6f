/** `emaDecay`: averages of the trained values over steps, as an adapter of their own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { largestDifference } from '../golden/files.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const folder = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const data = [9, 4, 15, 6, 12].map((length, row) => ({
  input_ids: Array.from({ length }, (_, i) => (7 * i + row) % 50),
}))

type Model = Awaited<ReturnType<typeof loadTiny>>
const valuesOf = async (model: Model) =>
  (await Promise.all(model.trainableParameters().map(({ parameter }) => parameter.data()))).flatMap((one) => [...one])

async function valuesIn(adapter: string): Promise<number[]> {
  using model = await loadTiny('tiny-untied')
  await model.loadAdapter(adapter)
  return valuesOf(model)
}

/** Runs, and returns the trained values at each event of a step, the last ones twice: the values are read after the event. */
async function run(changes: Partial<TrainOptions> = {}): Promise<number[][]> {
  using own = await loadTiny('tiny-untied')
  const course = { method: 'lora', rank: 2, learningRate: 1e-2, scheduler: 'constant', batchSize: 4, maxSteps: 5, data }
  const trained: number[][] = []
  const onEvent = async ({ type }: { type: string }) => {
    if (type === 'step') trained.push(await valuesOf(own))
  }
  await train(own, { ...course, emaDecay: 0.3, onEvent, ...changes } as TrainOptions).finished
  expect(await valuesOf(own)).toEqual(trained.at(-1))
  return trained
}

test('the average decays from step to step, and changes nothing else', async () => {
  const output = join(folder(), 'out')
  const trained = await run({ output })
  expect(await run({ output: join(folder(), 'plain'), emaDecay: undefined })).toEqual(trained)
  expect(existsSync(join(folder(), 'plain', 'ema'))).toBe(false)
  expect(await valuesIn(output)).toEqual(trained.at(-1))
  const zeroSteps = join(folder(), 'zero')
  const [first] = await run({ output: zeroSteps, learningRate: 1e-30, maxSteps: 1 })
  let average = first!
  for (const [t, values] of trained.entries()) {
    const decay = Math.min(0.3, (2 + t) / (11 + t))
    average = average.map((value, i) => decay * value + (1 - decay) * values[i]!)
  }
  const written = await valuesIn(join(output, 'ema'))
  expect(largestDifference(written, average)).toBeLessThan(1e-6)
  expect(largestDifference(written, trained.at(-1)!)).toBeGreaterThan(1e-4)
})

test('a resumed run has the same average, bit for bit', async () => {
  const [whole, half] = [join(folder(), 'whole'), join(folder(), 'half')]
  await run({ output: whole })
  await run({ output: half, maxSteps: 2 })
  await expect(run({ output: half, resume: true, emaDecay: 0.5 })).rejects.toThrow('emaDecay')
  await run({ output: half, resume: true })
  expect(await valuesIn(join(half, 'ema'))).toEqual(await valuesIn(join(whole, 'ema')))
})

test.each([
  [{ method: 'full', rank: undefined }, 'emaDecay does not go with method full'],
  [{ method: 'mora', mergeEvery: 2 }, 'emaDecay does not go with mergeEvery'],
  [{ output: undefined }, 'emaDecay needs'],
])('%j is refused', async (changes, message) => {
  await expect(run({ output: join(folder(), 'refused'), ...(changes as object) })).rejects.toThrow(message)
})
