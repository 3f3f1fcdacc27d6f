/** A signal ends work on models: nothing is written, and no memory stays in use. */
import { getEventListeners } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { lora, loraPlus } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { analyzeAdapter, analyzeModels } from '../../lib/analysis/index.js'
import { loadDataset } from '../../lib/batches/dataset.js'
import { exportAdapter, loadModel, mergeModel } from '../../lib/models/index.js'
import { ModelSource } from '../../lib/models/read/model-source.js'
import { train } from '../../lib/train/index.js'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const temporary = useTemporaryFolder()
const path = goldenPath('tiny-untied/model')
const REASON = new Error('enough')
const small = { device: 'cpu', threads: 1, dtype: 'float32' } as const

let controller: AbortController
let options: { signal: AbortSignal; onProgress: (progress: { done: number }) => void }
let done: number[]
beforeEach(() => {
  controller = new AbortController()
  done = []
  const onProgress = (progress: { done: number }) => {
    done.push(progress.done)
    if (progress.done === 2) controller.abort(REASON)
  }
  options = { signal: controller.signal, onProgress }
})
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

async function savedAdapter(config: ReturnType<typeof mora | typeof lora>): Promise<string> {
  const folder = join(temporary(), 'adapter')
  using model = await loadModel(path, small)
  model.addAdapter('x', config)
  await model.saveAdapter('x', folder)
  return folder
}

async function expectEnded(work: Promise<unknown>, output?: string) {
  await expect(work).rejects.toBe(REASON)
  expect(done).toEqual([1, 2])
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  if (output === undefined) return
  expect(existsSync(output)).toBe(false)
  expect(readdirSync(temporary())).toEqual(['adapter'])
}

test('mergeModel ends between two weights', async () => {
  const adapter = await savedAdapter(mora({ rank: 2 }))
  const output = join(temporary(), 'merged')
  await expectEnded(mergeModel({ model: path, adapter, output, ...options, device: 'cpu', threads: 1 }), output)
})

test('mergeModel into a GGUF file ends between two weights', async () => {
  const adapter = await savedAdapter(mora({ rank: 2 }))
  const output = join(temporary(), 'merged.gguf')
  await expectEnded(mergeModel({ model: path, adapter, output, ...options, device: 'cpu', threads: 1 }), output)
})

test('exportAdapter ends between two layers', async () => {
  const adapter = await savedAdapter(lora({ rank: 2 }))
  const output = join(temporary(), 'exported')
  await expectEnded(exportAdapter({ model: path, adapter, output, format: 'peft', threads: 1, ...options }), output)
})

test('analyzeAdapter ends between two layers', async () => {
  const adapter = await savedAdapter(mora({ rank: 2 }))
  await expectEnded(analyzeAdapter({ model: path, adapter, threads: 1, ...options }))
})

test('analyzeModels ends between two layers', async () => {
  await expectEnded(analyzeModels({ model: path, base: path, threads: 1, ...options }))
})

test('mergeAdapter ends between two weights, and leaves them as they were, bit for bit', async () => {
  using model = await loadModel(path, small)
  await model.addAdapter('x', mora({ rank: 2 }))
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => Math.sin(i)))
  }
  const bits = async () =>
    Promise.all(
      model.slots.map(async ({ own }) => Buffer.from(new Uint8Array((await own.data()).buffer)).toString('hex')),
    )
  const before = await bits()
  const merging = model.mergeAdapter('x', { signal: controller.signal })
  controller.abort(REASON)
  await expect(merging).rejects.toBe(REASON)
  expect(await bits()).toEqual(before)
  await expect(model.mergeAdapter('x', { signal: controller.signal })).rejects.toBe(REASON)
  await model.mergeAdapter('x', { signal: new AbortController().signal })
  expect(await bits()).not.toEqual(before)
})

test.each(['saved', 'saved.gguf'])('saving a model as %s ends between two tensors', async (name) => {
  using model = await loadModel(path, small)
  const output = join(temporary(), name)
  const saving = model.save(output, { signal: controller.signal })
  setImmediate(() => controller.abort(REASON))
  await expect(saving).rejects.toBe(REASON)
  expect(readdirSync(temporary())).toEqual([])
  await model.save(output, { signal: new AbortController().signal })
  expect(existsSync(output)).toBe(true)
})

test('loadModel ends between two weights', async () => {
  const { loadInto } = ModelSource.prototype
  const read: string[] = []
  ModelSource.prototype.loadInto = function (name, target) {
    read.push(name)
    // The signal only arrives in a turn of the event loop.
    if (read.length === 2) setImmediate(() => controller.abort(REASON))
    return loadInto.call(this, name, target)
  }
  try {
    await expect(loadModel(path, { ...small, signal: controller.signal })).rejects.toBe(REASON)
    expect(read.length).toBeLessThan(5)
  } finally {
    ModelSource.prototype.loadInto = loadInto
  }
})

test('an already aborted signal ends everything before files are looked for', async () => {
  const signal = AbortSignal.abort(REASON)
  const [model, adapter, output] = ['model', 'adapter', 'output'].map((name) => join(temporary(), name)) as [
    string,
    string,
    string,
  ]
  await expect(loadModel(model, { signal })).rejects.toBe(REASON)
  await expect(mergeModel({ model, adapter, output, signal })).rejects.toBe(REASON)
  await expect(exportAdapter({ model, adapter, output, format: 'peft', signal })).rejects.toBe(REASON)
  await expect(analyzeAdapter({ model, adapter, signal })).rejects.toBe(REASON)
})

test('loadDataset ends between two rows', async () => {
  const data = join(temporary(), 'rows.jsonl')
  writeFileSync(data, '{"input_ids": [1, 2, 3]}\n'.repeat(3000))
  const { signal } = controller
  const onProgress = () => controller.abort(REASON)
  await expect(loadDataset(data, { tokenizer: null, signal, onProgress })).rejects.toBe(REASON)
  await expect(loadDataset(data, { tokenizer: null, signal: AbortSignal.abort(REASON) })).rejects.toBe(REASON)
})

test('a learning rate as a function meets the ratios of LoRA+, bit for bit as a number does', async () => {
  const data = join(temporary(), 'rows.jsonl')
  writeFileSync(data, '{"input_ids": [1, 2, 3, 4, 5]}\n'.repeat(8))
  const trained = async (learningRate: number | ((step: number) => number), config = loraPlus({ rank: 2 })) => {
    using model = await loadModel(path, small)
    model.addAdapter('x', config)
    const scheduler = typeof learningRate === 'function' ? undefined : 'constant'
    await train(model, { data, maxSteps: 3, batchSize: 4, learningRate, scheduler, seed: 1 }).finished
    const values = await Promise.all(model.trainableParameters().map(({ parameter }) => parameter.data()))
    return values.map((one) => Buffer.from(Float32Array.from(one as Float32Array).buffer).toString('hex'))
  }
  const own = await trained(() => 0.01)
  expect(own).toEqual(await trained(0.01))
  expect(own).not.toEqual(await trained(() => 0.01, loraPlus({ rank: 2, loraPlusRatio: 1 })))
})
