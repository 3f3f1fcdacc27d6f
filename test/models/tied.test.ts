/** Embeddings that are also the output head: one tensor in training, one in files (T17, T18). */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import { largestDifference, largestOf, readTensors } from '../golden/files.js'
import { batchOf, expectedOf, loadTiny, logProbsOf, type TinyModel, takeSteps } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const temporary = useTemporaryFolder()
const name: TinyModel = 'tiny-tied-llama3-rope'
const { sequences } = expectedOf(name)
const batch = batchOf([{ input_ids: sequences[1]! }, { input_ids: sequences[0]! }])

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const reload = (folder: string): Promise<Model> =>
  loadModel(folder, { device: process.env.MORA_TEST_DEVICE ?? 'cpu', dtype: 'float32', rotaryDtype: 'bfloat16' })

test('full training has one parameter for both, and its gradient is the sum of both uses (T17)', async () => {
  using model = await loadTiny(name)
  model.trainAll()
  expect(model.head).toBe(model.embeddings)
  expect(model.trainableParameters().filter(({ parameter }) => parameter.elements === 300 * 48).length).toBe(1)
  const { loss } = model.loss(batch)
  await loss.backward()
  loss.dispose()
  const gradient = (await model.embeddings.grad!.data()) as Float32Array

  // The loss along the gradient, by central differences.
  const values = (await model.embeddings.data()) as Float32Array
  const [embeddings] = model.trainableParameters()
  const length = Math.hypot(...gradient)
  const along = async (distance: number): Promise<number> => {
    embeddings!.parameter.assign(values.map((value, i) => value + (distance * gradient[i]!) / length))
    const logProbs = await model.tokenLogProbs(batch)
    return -logProbs.reduce((sum, value) => sum + value, 0)
  }
  const distance = 2 ** -7
  const slope = ((await along(distance)) - (await along(-distance))) / (2 * distance)
  expect(Math.abs(slope / length - 1), 'relative error of the slope').toBeLessThan(5e-3)
  for (const { parameter } of model.trainableParameters()) parameter.zeroGrad()
})

test('a trained tied model is saved with one tensor and read again as it was (T17, T18)', async () => {
  const folder = join(temporary(), 'saved')
  using model = await loadTiny(name)
  model.trainAll()
  await takeSteps(model, batch, 1e-3, 2)
  const before = await logProbsOf(model, sequences)
  await model.save(folder, { dtype: 'float32' })

  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  expect(config.tie_word_embeddings).toBe(true)
  const tensors = readTensors(join(folder, 'model.safetensors'))
  expect(tensors.has('lm_head.weight')).toBe(false)
  expect(tensors.get('model.embed_tokens.weight')!.shape).toEqual([300, 48])
  using again = await reload(folder)
  expect(again.head).toBe(again.embeddings)
  expect(await logProbsOf(again, sequences)).toEqual(before)
})

test('a merged adapter leaves the tied embeddings alone, also in files (T17)', async () => {
  const folder = join(temporary(), 'merged')
  using model = await loadTiny(name)
  const embeddings = await model.embeddings.bits()
  model.addAdapter('x', mora({ rank: 2 }))
  await takeSteps(model, batch, 1e-3, 2)
  const adapted = await logProbsOf(model, sequences)
  await model.mergeAdapter('x')
  expect(await model.embeddings.bits()).toEqual(embeddings)
  await model.save(folder, { dtype: 'float32' })
  using again = await reload(folder)
  expect(await again.embeddings.bits()).toEqual(embeddings)
  expect(largestDifference((await logProbsOf(again, sequences)).flat(), adapted.flat())).toBeLessThan(5e-5)
})

test('an untied model keeps two tensors (T18)', async () => {
  const folder = join(temporary(), 'untied')
  using model = await loadTiny('tiny-untied')
  await model.save(folder)
  const tensors = readTensors(join(folder, 'model.safetensors'))
  const [embeddings, head] = ['model.embed_tokens.weight', 'lm_head.weight'].map((key) => tensors.get(key)!.values)
  expect(largestDifference(embeddings!, head!)).toBeGreaterThan(0.5 * largestOf(head!))
  using again = await loadModel(folder, { device: process.env.MORA_TEST_DEVICE ?? 'cpu', dtype: 'float32' })
  const untied = expectedOf('tiny-untied')
  expect(await logProbsOf(again, untied.sequences)).toEqual(await logProbsOf(model, untied.sequences))
})

test('weights saved in their own dtype have the bits of the source (T18)', async () => {
  const folder = join(temporary(), 'copy')
  using model = await loadTiny(name)
  await model.save(folder)
  const saved = readTensors(join(folder, 'model.safetensors'))
  const source = readTensors(join(model.path, 'model.safetensors'))
  expect([...saved.keys()].sort()).toEqual([...source.keys()].sort())
  for (const [key, { bytes }] of source) expect(saved.get(key)!.bytes, key).toEqual(bytes)
  expect(existsSync(join(folder, 'config.json'))).toBe(true)
})
