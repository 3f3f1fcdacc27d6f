/** The two tiny checkpoints of the golden data, and how the reference trained them. */
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora, moraTypes, operators } from '../../lib/adapters/methods/mora.js'
import type { Batch } from '../../lib/batches/batch.js'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { FloatDType } from '../../lib/native/addon.js'
import { AdamW } from '../../lib/optim/adamw.js'
import { schedule } from '../../lib/optim/schedule.js'
import { goldenJson, goldenLines, goldenPath, lacksGolden } from './files.js'

export const tinyModels = ['tiny-untied', 'tiny-tied-llama3-rope'] as const
export type TinyModel = (typeof tinyModels)[number]

interface AdapterOptions {
  method: 'mora' | 'lora'
  type?: number
  rank: number
  alpha?: number
}

export interface GoldenStep {
  step: number
  loss: number
  gradNorm: number
  learningRate: number
  targetTokens: number
}

export interface GoldenTraining {
  name: string
  options: {
    adapter: AdapterOptions
    learningRate: number
    scheduler: 'cosine' | 'linear' | 'constant'
    warmupSteps: number
    maxSteps: number
    batchSize: number
    weightDecay?: number
    beta2?: number
    maxGradNorm?: number
  }
  steps: GoldenStep[]
  final_logprobs: number[][]
}

export interface Expected {
  sequences: number[][]
  logprobs: number[][]
  adapters: { name: string; config: AdapterOptions & { merged: boolean }; logprobs: number[][] }[]
  training: GoldenTraining[]
}

export const expectedOf = (name: TinyModel): Expected => goldenJson<Expected>(`${name}/expected.json`)

/**
 * The second checkpoint was computed by a model that PyTorch had cast to bfloat16 as a whole before it went to float64,
 * rotary frequencies included; `rotaryDtype` reproduces this rounding.
 */
export function loadTiny(name: TinyModel, dtype: FloatDType = 'float32'): Promise<Model> {
  const rotaryDtype = name === 'tiny-tied-llama3-rope' ? 'bfloat16' : 'float32'
  const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
  return loadModel(goldenPath(`${name}/model`), { device, dtype, rotaryDtype, threads: 2 })
}

export interface Row {
  input_ids: number[]
  /** Labels with -100 at tokens without a target; without labels, all tokens are targets. */
  labels?: number[]
}

/** Documents packed into one batch; `firstKey` names the first token's dropout row. */
export function batchOf(rows: readonly Row[], firstKey = 0): Batch {
  const [ids, targets, positions]: number[][] = [[], [], []]
  const offsets = [0]
  for (const { input_ids: tokens, labels = tokens } of rows) {
    for (const [i, token] of tokens.entries()) {
      ids!.push(token)
      positions!.push(i)
      targets!.push(labels[i + 1] ?? -1)
    }
    offsets.push(ids!.length)
  }
  return {
    ids: Int32Array.from(ids!),
    targets: Int32Array.from(targets!, (target) => Math.max(target, -1)),
    positions: Int32Array.from(positions!),
    offsets: Int32Array.from(offsets),
    rowKeys: BigInt64Array.from(ids!, (_, i) => BigInt(firstKey + i)),
    targetTokens: targets!.filter((target) => target >= 0).length,
    rows: rows.length,
  }
}

export const rowsOf = (model: TinyModel, training: string): Row[] =>
  goldenLines<Row>(`${model}/training/${training}/rows.jsonl`)

/** Log-probabilities of each token after the first, for each sequence. */
export async function logProbsOf(model: Model, sequences: readonly number[][]): Promise<number[][]> {
  const result: number[][] = []
  for (const input_ids of sequences) result.push([...(await model.tokenLogProbs(batchOf([{ input_ids }])))])
  return result
}

/** Adds the adapter that a run starts from. */
export async function addStart(model: Model, name: TinyModel, { name: run, options }: GoldenTraining): Promise<void> {
  const { method, rank, type, alpha } = options.adapter
  const start = `${name}/training/${run}/start`
  if (lacksGolden(start) === null) await model.loadAdapter(goldenPath(start), 'trained')
  else if (method === 'mora')
    model.addAdapter('trained', mora({ rank, operator: operators.find((o) => moraTypes[o] === type)! }))
  else model.addAdapter('trained', lora({ rank, alpha: alpha! }))
}

/** Returns the gradients of the sum of these batches' losses by their parameters' names, and clears them. */
export async function gradientsOf(model: Model, ...batches: readonly Batch[]): Promise<Map<string, Float32Array>> {
  for (const batch of batches) {
    const { loss } = model.loss(batch)
    await loss.backward()
    loss.dispose()
  }
  return takeGradients(model)
}

/** Returns every gradient that there is by its parameter's name, and clears it. */
export async function takeGradients(model: Model): Promise<Map<string, Float32Array>> {
  const gradients = new Map<string, Float32Array>()
  for (const { name, parameter } of model.trainableParameters()) {
    if (parameter.grad) gradients.set(name, await parameter.grad.data())
    parameter.zeroGrad()
  }
  return gradients
}

/** Steps of AdamW on one batch, without clipping. */
export async function takeSteps(model: Model, batch: Batch, learningRate: number, count: number): Promise<void> {
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  for (let step = 0; step < count; step++) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    loss.dispose()
    optimizer.step({ learningRate, scaleGradients: 1 / targetTokens }).dispose()
  }
  optimizer.dispose()
}

export interface TakenStep {
  learningRate: number
  loss: number
  gradNorm: number
  targetTokens: number
}

type SeenStep = (taken: TakenStep, golden: GoldenStep) => void | Promise<void>

/** Trains as the reference did, and calls `seen` after each step. */
export function trainLike(model: Model, name: TinyModel, run: GoldenTraining, seen?: SeenStep): Promise<TakenStep[]> {
  return trainOn(model, rowsOf(name, run.name), run, seen)
}

/** The same on rows of the caller. */
export async function trainOn(
  model: Model,
  rows: readonly Row[],
  { options, steps }: { options: Omit<GoldenTraining['options'], 'adapter'>; steps: GoldenStep[] },
  seen: SeenStep = () => {},
): Promise<TakenStep[]> {
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const optimizer = new AdamW(parameters, { weightDecay: options.weightDecay ?? 0, beta2: options.beta2 ?? 0.999 })
  const { learningRate: peak, scheduler, warmupSteps, maxSteps } = options
  const rateAt = schedule({ learningRate: peak, scheduler, warmupSteps, totalSteps: maxSteps })
  const taken: TakenStep[] = []
  let at = 0
  for (const golden of steps) {
    const learningRate = rateAt(golden.step - 1)
    const batch = batchOf(Array.from({ length: options.batchSize }, () => rows[at++ % rows.length]!))
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    const norm = optimizer.step({
      learningRate,
      scaleGradients: 1 / targetTokens,
      maxGradNorm: options.maxGradNorm ?? 1,
    })
    taken.push({ loss: (await loss.item()) / targetTokens, gradNorm: await norm.item(), learningRate, targetTokens })
    loss.dispose()
    norm.dispose()
    await seen(taken.at(-1)!, golden)
  }
  optimizer.dispose()
  return taken
}
