/** A run computes the same bits whatever else is called on its model meanwhile. */
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { randomStream } from '../../lib/common/random.js'
import { evaluate } from '../../lib/eval/index.js'
import { Model } from '../../lib/models/model.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Tensor } from '../../lib/tensor/tensor.js'
import { type TrainOptions, train } from '../../lib/train/index.js'
import { drawn } from '../drawn.js'
import { readTensors } from '../golden/files.js'
import { batchOf, expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { writeRows } from './tiny-run.js'

const temporary = useTemporaryFolder()
const { sequences } = expectedOf('tiny-untied')
const rows = sequences.map((input_ids) => ({ input_ids }))
const batch = batchOf(rows.slice(0, 2))
let saves = 0
const GREEDY = { temperature: 0, topK: 0, topP: 1, uniform: 0 }

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

/** A model with adapters that change much: one of layers, and one that also trains norms whole. */
async function loadWithOthers(): Promise<Model> {
  const model = await loadTiny('tiny-untied')
  await model.addAdapter('layers', mora({ rank: 2 }))
  await model.addAdapter('norms', mora({ rank: 2, modulesToSave: ['norms'] }))
  for (const { parameter } of model.trainableParameters()) {
    const values = await parameter.data()
    parameter.assign(values.map((value, i) => value + 0.2 * Math.sin(i)))
  }
  model.setActiveAdapters([])
  return model
}

/** Goes backward from a loss; throws unless it is refused, since its gradients would become part of the run's step. */
async function withoutGradients(loss: Tensor): Promise<void> {
  try {
    const code = await loss.backward().then(
      () => 'done',
      (error: { code?: string }) => error.code,
    )
    if (code !== 'no-gradients') throw new Error(`backward() of another's loss: ${code}`)
  } finally {
    loss.dispose()
  }
}

/** Loads an adapter and removes it: neither changes what the run computes. */
async function comeAndGo(model: Model): Promise<void> {
  const name = `late-${saves++}`
  await model.loadAdapter(join(temporary(), 'stored'), name)
  model.removeAdapter(name)
}

/** A call of each public method while a run holds the model; those in `refused` throw `in-training`. */
const calls: Record<string, (model: Model) => unknown> = {
  addAdapter: (model) => model.addAdapter('late', mora({ rank: 2 })),
  addHead: (model) => model.addHead(['a', 'b']),
  loadAdapter: comeAndGo,
  mergeAdapter: (model) => model.mergeAdapter('layers'),
  unmergeAdapter: (model) => model.unmergeAdapter('layers'),
  restartAdapter: (model) => model.restartAdapter('layers'),
  absorbAdapter: (model) => model.absorbAdapter(temporary()),
  removeAdapter: comeAndGo,
  setActiveAdapters: (model) => model.setActiveAdapters(['layers']),
  setAdapterScale: (model) => model.setAdapterScale('layers', 0.5),
  holdForTraining: (model) => model.holdForTraining(),
  trainAll: (model) => model.trainAll(),
  linears: (model) => model.linears(),
  adaptableLayers: (model) => model.adaptableLayers(),
  slot: (model) => model.slot('lm_head.weight'),
  moduleNames: (model) => model.moduleNames(['norms']),
  trainableParameters: (model) => model.trainableParameters(),
  untrainedTokens: (model) => model.untrainedTokens([1, 2]),
  saveAdapter: (model) => model.saveAdapter('layers', join(temporary(), `adapter-${saves++}`)),
  save: (model) => model.save(join(temporary(), `whole-${saves++}`)),
  setDropout: (model) => model.setDropout({ seed: 3, step: 9 }),
  loss: (model) => withoutGradients(model.loss(batch).loss),
  lossAsync: async (model) => withoutGradients((await model.lossAsync(batch)).loss),
  forward: (model) => model.forward(batch).dispose(),
  forwardAsync: async (model) => (await model.forwardAsync(batch, { gradients: false })).dispose(),
  tokenLogProbs: (model) => model.tokenLogProbs(batch),
  trial: async (model) => (await model.trial().lossAsync(batch)).loss.dispose(),
  createCache: (model) => model.createCache(8).dispose(),
  createMemory: (model) => model.createMemory({ capacity: 8, slots: 1 }).dispose(),
  nextLogitsOf: (model) => {
    using memory = model.createMemory({ capacity: 8, slots: 1 })
    model.nextLogitsOf([{ ids: [1, 2], known: 2, rows: [4, 1], slot: 0, rowLength: 2 }], memory).dispose()
  },
  logProbsOf: async (model) => {
    using memory = model.createMemory({ capacity: 8, slots: 1 })
    const part = { ids: [1, 2], known: 2, rows: [4, 1], slot: 0, rowLength: 2 }
    await model.logProbsOf([part], { rows: [0, 1], ids: [2, 3] }, memory)
  },
  nextLogits: async (model) => {
    using cache = model.createCache(8)
    await model.nextLogits([1, 2, 3], cache)
  },
  nextToken: async (model) => {
    using cache = model.createCache(16)
    let id = 1
    for (let i = 0; i < 6; i++) id = await model.nextToken([id], cache, GREEDY)
  },
  withAdapters: async (model) => {
    const view = model.withAdapters([{ name: 'layers', scale: 0.5 }])
    using cache = view.createCache(16)
    let id = 1
    for (let i = 0; i < 6; i++) id = await view.nextToken([id], cache, GREEDY)
    await model.withAdapters([]).tokenLogProbs(batch)
    const other = model.withAdapters(['norms'])
    other.setDropout({ seed: 2, step: 2 })
    await withoutGradients((await other.lossAsync(batch)).loss)
    await evaluate(model, { task: 'perplexity', data: [rows[0]!], adapters: [] })
  },
}
const refused = [
  ...['addAdapter', 'addHead', 'mergeAdapter', 'unmergeAdapter', 'restartAdapter', 'absorbAdapter'],
  ...['setActiveAdapters', 'setAdapterScale', 'holdForTraining', 'trainAll'],
]

test('every public method is called', () => {
  const methods = [Model, ForwardPasses].flatMap(({ prototype }) =>
    Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(([, { value }]) => typeof value === 'function'),
  )
  const others = ['constructor', 'dispose']
  expect(Object.keys(calls).sort()).toEqual(
    methods
      .map(([name]) => name)
      .filter((name) => !others.includes(name))
      .sort(),
  )
})

interface Trained {
  losses: number[]
  files: ReturnType<typeof readTensors>
}

/** Trains, with others at work on the model until the run ends if `seed` is given. */
async function trained(options: Partial<TrainOptions>, seed: number | null): Promise<Trained> {
  using model = await loadWithOthers()
  await model.saveAdapter('layers', join(temporary(), 'stored'))
  const output = join(temporary(), 'out')
  const data = writeRows(temporary(), 'rows.jsonl', rows)
  const whole = {
    data,
    output,
    maxSteps: 4,
    batchSize: 4,
    microBatchSize: 2,
    overwrite: true,
    evalData: data,
    evalEvery: 2,
  }
  const losses: number[] = []
  const run = train(model, {
    ...whole,
    ...options,
    onEvent: (event) => {
      if (event.type === 'step') losses.push(event.loss, event.gradNorm)
      if (event.type === 'evaluation') losses.push(event.evalLoss)
    },
  })
  let isOver = false
  const finished = run.finished.finally(() => {
    isOver = true
  })
  const called = new Map<string, number>()
  if (seed !== null) {
    const random = randomStream(seed, 'calls')
    const names = Object.keys(calls)
    const worker = async () => {
      while (!isOver) {
        await setImmediate()
        if (isOver) return
        const name = names[Math.floor(random.uniform() * names.length)]!
        model.gradientCheckpointing = random.uniform() < 0.5
        const call = async () => calls[name]!(model)
        // A call that began before the run ended may find the model free.
        const code = await call().then(
          () => 'done',
          (error: { code?: string; message: string }) => error.code ?? error.message,
        )
        if (!isOver) expect([name, code]).toEqual([name, refused.includes(name) ? 'in-training' : 'done'])
        called.set(name, (called.get(name) ?? 0) + 1)
      }
    }
    await Promise.all([worker(), worker(), worker()])
    expect(called.size).toBeGreaterThan(20)
  }
  await finished
  const isWhole = options.method === 'full' || options.mergeEvery !== undefined
  const path = isWhole ? join(output, 'model', 'model.safetensors') : join(output, 'adapter_model.safetensors')
  return { losses, files: readTensors(path) }
}

describe('others use the model during a run', () => {
  const runs: [string, Partial<TrainOptions>][] = [
    ['of an adapter with dropout', { method: 'mora', rank: 2, dropout: 0.2 }],
    ['that recomputes activations', { method: 'lora', rank: 2, dropout: 0.2, gradientCheckpointing: true }],
    ['of every weight', { method: 'full' }],
    ['that merges its adapter', { method: 'mora', rank: 2, mergeEvery: 3, maxSteps: 6 }],
  ]
  test.each(drawn('runs beside others', runs, 2))('%s: the same bits', async (_, options) => {
    const steps = { maxSteps: 12, ...options }
    const alone = await trained(steps, null)
    expect(await trained(steps, 1)).toEqual(alone)
  })
})
