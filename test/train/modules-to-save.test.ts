/** Runs on the native core that train modules whole beside an adapter. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { loadModel, mergeModel } from '../../lib/models/index.js'
import type { TrainInput } from '../../lib/options/index.js'
import { train } from '../../lib/train/index.js'
import { goldenPath, largestDifference } from '../golden/files.js'
import { expectedOf, loadTiny, logProbsOf, type TinyModel } from '../golden/tiny-models.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { stepsOf } from './steps-of.js'

const folder = useTemporaryFolder()
const at = (name: string) => join(folder(), name)
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

const base = (name: TinyModel): TrainInput => ({
  data: goldenPath(`${name}/training/rotation-cosine/rows.jsonl`),
  modulesToSave: ['embeddings', 'norms'],
  rank: 2,
  dropout: 0.1,
  learningRate: 1e-3,
  batchSize: 3,
  maxSteps: 6,
})

/** Trains a fresh model, and returns its results afterwards, without dropout. */
async function course(name: TinyModel, options: TrainInput, stopAfter?: number) {
  using model = await loadTiny(name)
  const run = train(model, options)
  const steps = await stepsOf(run, stopAfter)
  const { trainableParameters } = await run.finished
  const weights = new Map<string, unknown>()
  for (const { name: weight, parameter } of model.trainableParameters()) weights.set(weight, await parameter.data())
  const logProbs = (await logProbsOf(model, expectedOf(name).sequences)).flat()
  return { losses: steps.map(({ loss }) => loss), weights, logProbs, trainableParameters }
}

describe.each(['tiny-untied', 'tiny-tied-llama3-rope'] as const)('modules to save of %s', (name) => {
  it('T21 resume bit for bit: six steps equal three, a resume, and three', async () => {
    const whole = await course(name, base(name))
    const first = await course(name, { ...base(name), output: at('halves') }, 3)
    const second = await course(name, { ...base(name), output: at('halves'), resume: true })
    expect([...first.losses, ...second.losses]).toEqual(whole.losses)
    expect([...second.weights.keys()]).toContain('model.embed_tokens.weight')
    expect(second.weights).toEqual(whole.weights)
    expect(parse(readFileSync(join(at('halves'), 'run.yaml'), 'utf8')).options.modulesToSave).toContain('embed_tokens')
    await expectRejection(
      course(name, { ...base(name), modulesToSave: ['norms'], output: at('halves'), resume: true }),
      'changed-run',
      /modulesToSave was .*embed_tokens.* and is .*norm/,
    )
  })

  it('are in the result, its checkpoints and the merged model, and count as trained', async () => {
    const done = await course(name, { ...base(name), output: at('out') })
    const without = await course(name, { ...base(name), modulesToSave: undefined, maxSteps: 1 })
    const { vocabularySize, hiddenSize, layers } = (await loadAndDispose(name)).config
    expect(done.trainableParameters - without.trainableParameters).toBe(hiddenSize * (vocabularySize + 2 * layers + 1))
    for (const path of [at('out'), join(at('out'), 'checkpoints', 'step-000006')]) {
      using model = await loadTiny(name)
      await model.loadAdapter(path)
      expect((await logProbsOf(model, expectedOf(name).sequences)).flat()).toEqual(done.logProbs)
      await model.mergeAdapter('default')
      await model.save(at('saved'), { dtype: 'float32', overwrite: true })
    }
    const model = goldenPath(`${name}/model`)
    await mergeModel({ model, adapter: at('out'), output: at('merged'), dtype: 'float32', device })
    const tensors = (path: string) => readFileSync(join(at(path), 'model.safetensors'))
    expect(tensors('merged').equals(tensors('saved'))).toBe(true)
  })
})

async function loadAndDispose(name: TinyModel) {
  using model = await loadTiny(name)
  return model
}

describe('an adapter that trains modules whole', () => {
  const name = 'tiny-untied'

  it('continues from its file, which decides the modules', async () => {
    await course(name, { ...base(name), output: at('out') })
    const start = { ...base(name), rank: undefined, dropout: undefined, modulesToSave: undefined, adapter: at('out') }
    const again = await course(name, start)
    expect([...again.weights.keys()]).toContain('model.norm.weight')
    const same = await course(name, { ...start, modulesToSave: ['norms', 'embed_tokens'] })
    expect(same.weights).toEqual(again.weights)
    await expectRejection(
      course(name, { ...start, modulesToSave: ['head'] }),
      'unfit-options',
      /modulesToSave is \["head"\], but the adapter .* has \[.*embed_tokens/,
    )
    expect(largestDifference(again.logProbs, same.logProbs)).toBe(0)
  })

  it('may have been added before the run', async () => {
    using model = await loadTiny(name)
    model.addAdapter('mine', mora({ rank: 2, modulesToSave: ['head'] }))
    const { rank, dropout, modulesToSave, ...options } = base(name)
    await train(model, options).finished
    const { parameter } = model.trainableParameters().find((one) => one.name === 'lm_head.weight')!
    const own = await model.slot('lm_head.weight').own.data()
    expect(largestDifference(await parameter.data(), own)).toBeGreaterThan(1e-4)
  })

  it('requires names of modules of the model', async () => {
    const run = course(name, { ...base(name), modulesToSave: ['nothing'] })
    await expectRejection(run, 'no-module', /nothing .*candidates: embeddings, norms, head/)
  })
})

it('norms and biases never decay, beside an adapter and in full training', async () => {
  for (const family of ['gpt2', 'gemma2']) {
    using model = await loadModel(goldenPath(`families/${family}`), { device, dtype: 'float32', threads: 1 })
    const trained = () => model.trainableParameters().map(({ parameter }) => parameter)
    model.addAdapter('a', lora({ rank: 2, modulesToSave: ['norms', 'embeddings'] }))
    const beside = trained()
    expect(beside.some(({ decays }) => !decays)).toBe(true)
    for (const { name, decays } of beside) expect(decays, name).toBe(/lora_|wte|wpe|embed_tokens/.test(name))
    model.removeAdapter('a')
    model.trainAll()
    for (const { name, decays, shape } of trained()) {
      expect(decays, name).toBe(!/norm|ln_|bias/.test(name))
      expect(shape.length, name).toBe(decays ? 2 : 1)
    }
  }
})
