/** The example of a method in one file does the same as the library's own methods. */

import { registerMethod } from 'node-mora/adapters'
import { beforeAll, expect, test } from 'vitest'
import { loraXs, loraXsMethod } from '../../examples/adapters/lora-xs.js'
import type { Model } from '../../lib/models/model.js'
import { largestDifference } from '../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, takeSteps } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'

const { sequences, logprobs } = expectedOf('tiny-untied')
const [sequence, rows] = [sequences.slice(0, 1), sequences.slice(1).map((input_ids) => ({ input_ids }))]
const folder = useTemporaryFolder()
const logProbs = async (model: Model) => (await logProbsOf(model, sequence))[0]!
const train = (model: Model) => takeSteps(model, batchOf(rows), 5e-2, 8)
const targets = ['q_proj', 'down_proj', 'lm_head']

beforeAll(() => registerMethod(loraXsMethod))

test('a name is taken once, by one method however often it is registered', () => {
  expect(() => registerMethod(loraXsMethod)).not.toThrow()
  expect(() => registerMethod({ ...loraXsMethod })).toThrow('There is a method lora-xs already')
})

test('it starts from the model as it is, and trains r² values a layer', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', loraXs({ rank: 4, targetModules: targets }))
  expect(largestDifference(await logProbs(model), logprobs[0]!)).toBeLessThan(5e-5)
  expect(model.trainableParameters().every(({ parameter }) => parameter.elements === 16)).toBe(true)
})

test('it learns, and merged it computes the same', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', loraXs({ rank: 4, targetModules: targets }))
  const before = await lossOf(model)
  await train(model)
  expect(await lossOf(model)).toBeLessThan(0.98 * before)
  const active = await logProbs(model)
  await model.mergeAdapter('a')
  expect(largestDifference(await logProbs(model), active)).toBeLessThan(5e-5)
})

test('its gradients are those of the loss', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', loraXs({ rank: 4, targetModules: targets }))
  await train(model)
  const { loss } = model.loss(batchOf(rows))
  await loss.backward()
  loss.dispose()
  for (const end of ['q_proj.xs_M', 'lm_head.xs_M']) {
    const { parameter } = model.trainableParameters().find(({ name }) => name.endsWith(end))!
    const values = await parameter.data()
    const gradient = (await parameter.grad!.data())[5]!
    const lossAt = async (change: number) => {
      parameter.assign(values.map((value, i) => (i === 5 ? value + change : value)))
      return lossOf(model)
    }
    const slope = ((await lossAt(0.01)) - (await lossAt(-0.01))) / 0.02
    parameter.assign(values)
    const { targetTokens } = batchOf(rows)
    expect(Math.abs(slope - gradient / targetTokens)).toBeLessThan(2e-3 * Math.max(1e-2, Math.abs(slope)) + 2e-5)
  }
})

test('its files are read as they were written', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', loraXs({ rank: 4, dropout: 0.1, targetModules: ['q_proj', 'down_proj'] }))
  await train(model)
  await model.saveAdapter('a', folder())
  using other = await loadTiny('tiny-untied')
  expect(await other.loadAdapter(folder())).toMatchObject({ method: 'lora-xs', rank: 4, dropout: 0.1 })
  expect(await logProbs(other)).toEqual(await logProbs(model))
})

async function lossOf(model: Model): Promise<number> {
  const { loss, targetTokens } = model.loss(batchOf(rows))
  const value = await loss.item()
  loss.dispose()
  return value / targetTokens
}
