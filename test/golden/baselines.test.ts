/**
 * The methods that the paper compares with, trained as PEFT, transformers and the authors' code train them in float64: LoRA+,
 * AsyLoRA, ReLoRA, LoRA and DoRA with alpha below and above the rank, full training.
 */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readAdapterFolder } from '../../lib/adapters/files/adapter-folder.js'
import { lora } from '../../lib/adapters/methods/lora.js'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { TrainInput } from '../../lib/options/index.js'
import { train } from '../../lib/train/index.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { stepsOf } from '../train/steps-of.js'
import { describeGolden, type GoldenTensor, goldenJson, goldenPath, largestDifference, readTensors } from './files.js'
import { type GoldenStep, loadTiny, logProbsOf } from './tiny-models.js'

interface GoldenBaseline {
  name: string
  kind: 'lora-plus' | 'asylora' | 'relora' | 'lora' | 'dora' | 'full'
  /** Of LoRA+: whether norms have PEFT's rates and decay, or the authors' and ours. */
  rule?: 'peft' | 'fork'
  ratio?: number
  /** Tensors that AsyLoRA does not train. */
  frozen?: string[]
  config: { r: number; lora_alpha: number; target_modules: string[]; modules_to_save?: string[] }
  options: TrainInput
  alsoTrain?: string[]
  trainable: number
  merges?: number
  steps: GoldenStep[]
  final_logprobs: number[][]
  merged_logprobs?: number[][]
}

const { cases, bases } = goldenJson<{ cases: GoldenBaseline[]; bases: Record<string, { sequences: number[][] }> }>(
  'baselines/expected.json',
)
const { sequences } = bases['tiny-untied/model']!
// Both rules agree where no norm is trained.
const runs = cases.filter(({ rule, config }) => rule !== 'peft' || config.modules_to_save === undefined)
const folder = useTemporaryFolder()

/** The options that name a run's method. */
function methodOf({ kind, ratio, frozen, name }: GoldenBaseline): Partial<TrainInput> {
  if (kind === 'lora-plus') return { method: kind, loraPlusRatio: ratio }
  if (kind === 'asylora') return { method: kind, asyloraTrainA: frozen === undefined }
  if (kind === 'relora') return { method: 'lora', reloraA: name === 'relora-same-a' ? 'start' : 'random' }
  return { method: kind }
}

/** Values of A and B by the names of parameters, from an adapter's file. */
function factorsIn(file: string): Map<string, Float32Array> {
  const nameOf = (key: string) => key.replace(/^base_model\.model\./, '').replace(/\.weight$/, '')
  return new Map([...readTensors(file)].map(([key, { values }]) => [nameOf(key), values]))
}

function assign(model: Model, values: ReadonlyMap<string, Float32Array>): void {
  const parameters = new Map(model.trainableParameters().map(({ name, parameter }) => [name, parameter]))
  for (const [name, given] of values) parameters.get(name)!.assign(given)
}

/** Returns the options for a run's start, once the model has what they cannot say. */
async function begin(model: Model, run: GoldenBaseline, path: string): Promise<Partial<TrainInput>> {
  const start = join(path, 'start')
  if (run.kind === 'full') return methodOf(run)
  if (!run.alsoTrain?.length) return { ...methodOf(run), adapter: start }
  const { r: rank, lora_alpha: alpha, target_modules: targetModules } = run.config
  model.addAdapter('default', lora({ rank, alpha, targetModules, modulesToSave: run.alsoTrain }))
  assign(model, factorsIn(join(start, 'adapter_model.safetensors')))
  return methodOf(run)
}

/** Makes the reference's random A the new one at each merge. */
function restartFrom(model: Model, path: string): void {
  const restart = model.restartAdapter.bind(model)
  let merges = 0
  model.restartAdapter = async (name, options) => {
    await restart(name, options)
    assign(model, factorsIn(join(path, `restart-${++merges}.safetensors`)))
  }
}

function expectClose(got: ReadonlyMap<string, GoldenTensor>, wanted: ReadonlyMap<string, GoldenTensor>): void {
  for (const [key, { shape, values }] of wanted) {
    expect(got.get(key)?.shape, key).toEqual(shape)
    expect(largestDifference(got.get(key)!.values, values), key).toBeLessThan(2e-5)
  }
}

describeGolden(
  'baselines',
  runs.map(({ name }) => name),
  (name, path) => {
    const run = runs.find((one) => one.name === name)!

    test('loss and norm of every step, the weights and what they compute match', async () => {
      using model = await loadTiny('tiny-untied')
      const start = await begin(model, run, path)
      if (start.reloraA === 'random') restartFrom(model, path)
      const output = join(folder(), 'run')
      const training = train(model, {
        ...run.options,
        ...start,
        data: join(path, 'rows.jsonl'),
        shuffle: false,
        output,
      })
      const taken = await stepsOf(training)
      expect((await training.finished).trainableParameters).toBe(run.trainable)
      expect(taken.length).toBe(run.steps.length)
      for (const [i, { loss, gradNorm, learningRate, targetTokens }] of taken.entries()) {
        const golden = run.steps[i]!
        const at = `step ${golden.step}`
        expect(targetTokens, at).toBe(golden.targetTokens)
        expect(Math.abs(learningRate - golden.learningRate), at).toBeLessThan(1e-12 * run.options.learningRate!)
        expect(Math.abs(loss / golden.loss - 1), `${at}: relative error of the loss`).toBeLessThan(2e-5)
        expect(Math.abs(gradNorm / golden.gradNorm - 1), `${at}: relative error of the norm`).toBeLessThan(5e-4)
      }
      const logProbs = async (one: Model) => (await logProbsOf(one, sequences)).flat()
      expect(largestDifference(await logProbs(model), run.final_logprobs.flat())).toBeLessThan(5e-5)

      if (run.kind === 'full') {
        expectClose(
          readTensors(join(output, 'model/model.safetensors')),
          readTensors(join(path, 'final/model.safetensors')),
        )
        return
      }
      const adapter = run.kind === 'relora' ? join(folder(), 'adapter') : output
      if (run.kind === 'relora') await model.saveAdapter('default', adapter, { modules: false })
      const saved = readTensors(join(adapter, 'adapter_model.safetensors'))
      const wanted = readTensors(join(path, 'final/adapter_model.safetensors'))
      expect([...saved.keys()].sort()).toEqual([...wanted.keys()].sort())
      expectClose(saved, wanted)
      if (run.kind !== 'relora') {
        expect((await readAdapterFolder(output)).config, 'the method in its file').toMatchObject(methodOf(run))
        return
      }
      const merged = run.alsoTrain!.length > 0 ? 'merged/model.safetensors' : 'merged-weights.safetensors'
      expectClose(readTensors(join(output, 'model/model.safetensors')), readTensors(join(path, merged)))
      using whole = await loadModel(join(output, 'model'), { device: model.device.kind, dtype: 'float32', threads: 2 })
      expect(largestDifference(await logProbs(whole), run.merged_logprobs!.flat())).toBeLessThan(5e-5)
    })
  },
)

test('an adapter that a method would compute otherwise is refused by name', async () => {
  using model = await loadTiny('tiny-untied')
  const options = { data: [{ input_ids: [1, 2] }], maxSteps: 1, adapter: goldenPath('tiny-untied/adapters/sharing') }
  for (const method of ['lora', 'lora-plus', 'asylora'] as const) {
    await expectRejection(
      stepsOf(train(model, { ...options, method })),
      'unfit-options',
      new RegExp(`method is ${method}, but the adapter .*sharing has mora`),
    )
  }
  const plain = goldenPath('baselines/lora-plus-4/start')
  await expectRejection(
    stepsOf(train(model, { ...options, adapter: plain, method: 'asylora', loraPlusRatio: 4 } as TrainInput)),
    'unfit-options',
    /loraPlusRatio is 4, but the adapter .* has none/,
  )
  const loaded = (as: { method: string; loraPlusRato?: number }) => model.loadAdapter(plain, 'a', { as })
  await expectRejection(loaded({ method: 'dora' }), 'unfit-options', /method is dora/)
  await expectRejection(loaded({ method: 'lora-plus', loraPlusRato: 4 }), 'unknown-option', /loraPlusRato/)
})
