/** Counts the memory of a run by taking a step of it on a counting device. */
import type { Batch } from '../batches/batch.js'
import { packRows, planMicroBatches } from '../batches/packing.js'
import { MoraError, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import type { Model } from '../models/index.js'
import type { QuantisedBase } from '../models/load/storage-plan.js'
import type { ModelSource } from '../models/read/model-source.js'
import { NF4_BLOCK, nf4Weight } from '../models/read/quantise-on-load.js'
import { type BlockDType, elementsOf, type FloatDType, type NativeDevice } from '../native/addon.js'
import type { ForwardModel, RunObjective } from '../objectives/objective.js'
import { AdamW } from '../optim/adamw.js'
import { maxLengthOf, newAdapterOptions, type TrainSettings } from '../options/index.js'
import { single } from '../tensor/ranks.js'
import { Tensor } from '../tensor/tensor.js'
import { type Weight, weightOf } from '../tensor/weight.js'
import { AveragingAdamW } from '../train/averages.js'
import { loadRunRows, type RunRows } from '../train/rows.js'
import { planModel } from '../train/setup/plan-model.js'
import { objectiveOfRun } from '../train/setup/run-objective.js'
import { tokenBudget } from '../train/setup/token-budget.js'
import type { CountedDevice } from './counting-addon.js'
import { makeModel, type RunToFit } from './run-model.js'

/** Memory of tensors, in bytes, and the step that it was counted in. */
export interface Counted {
  readonly base: number
  readonly adapter: number
  readonly optimizer: number
  readonly activations: number
  /** The most tensors at one time, while the model is loaded or in a step. */
  readonly peak: number
  readonly dtype: FloatDType
  readonly quantised: QuantisedBase | null
  /** Number of trained values. */
  readonly trained: number
  /** Whether the weights themselves are trained. */
  readonly isFull: boolean
  /** Bytes of the adapter's file, and of the model's with the adapter merged. */
  readonly stored: number
  readonly merged: number
  /** The largest forward pass. */
  readonly pass: {
    /** Tokens of each row, in all its documents. */
    readonly lengths: readonly number[]
    /** Documents of a row. */
    readonly documents: number
    /** Floating-point operations of its products, and of attention. */
    readonly products: number
    readonly attention: number
  }
  /** Tokens of a step: of the largest one, or on average where rows are read. */
  readonly stepTokens: number
  /** Maximum number of tokens in a row. */
  readonly maxLength: number
  /** Steps of the run and of an epoch, and tokens of its rows; null where rows are not read, or only as steps need them. */
  readonly steps: number | null
  readonly epoch: { readonly steps: number; readonly rows: number; readonly tokens: number } | null
}

/** Fewest tokens of a pass; see `tokenBudget`. */
const LEAST_TOKENS = 256

/** Steps whose rows are looked at for the largest pass. */
const MOST_STEPS = 256

/** Counts a run's memory. The addon of this thread must be the counting one. */
export async function countRun(run: RunToFit, device: CountedDevice): Promise<Counted> {
  const { options } = run
  const model = await makeModel(run, {
    device,
    network: (config) => config,
    read: unread,
    fill() {},
    decide: (decision) => device.withRealMemory(decision),
  })
  const { passes, hold } = model.holdForTraining()
  const { objective } = await objectiveOfRun(model, options, {}, [])
  requireRows(objective)
  const { inUse: base, peak: loading } = device.memory()
  const rows = run.readsRows ? await loadRunRows(model, options, { objective, ranks: single, notice() {} }) : null
  const labels = objective.labels && (rows ? objective.labels() : (options.labels ?? ['0', '1']))
  const part = await hold.change(() => planModel(model, options, () => {}).make(labels))
  passes.gradientCheckpointing = model.gradientCheckpointing
  passes.compute = model.compute
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const made = device.memory().inUse
  const budget = budgetOf(model, options, device)
  const { emaDecay } = options
  const optimizer =
    emaDecay === undefined ? new AdamW(parameters, options) : new AveragingAdamW(parameters, options, emaDecay)
  const moments = device.memory().inUse - made
  const maxLength = maxLengthOf(options.maxLength, model.config.maxPositions)
  const step = rows ? await largestPass(rows, budget) : longestPass(objective, options, maxLength, budget)

  const before = device.memory().inUse
  device.resetPeak()
  device.flops = { products: 0, attention: 0 }
  passes.setDropout({ seed: options.seed, step: 1, neftuneAlpha: options.neftuneAlpha })
  const passesMade = Math.min(2, step.passes)
  // A further pass adds to the gradients of the first.
  for (let pass = 0; pass < passesMade; pass++) await passOf(objective, passes, step.batch)
  const { products, attention } = device.flops
  const gradients = parameters.reduce((sum, { grad }) => sum + (grad ? 4 * grad.elements : 0), 0)
  optimizer.step({ learningRate: 1, maxGradNorm: options.maxGradNorm }).dispose()
  const { peak, inUse } = device.memory()
  // Values that steps derive from trained ones stay.
  const adapter = made - base + (inUse - before)
  return {
    base,
    adapter,
    optimizer: moments + gradients,
    activations: Math.max(0, peak - base - adapter - moments - gradients),
    peak: Math.max(peak, loading),
    dtype: model.dtype,
    quantised: model.quantised,
    trained: parameters.reduce((sum, { elements }) => sum + elements, 0),
    isFull: newAdapterOptions(options).method === 'full',
    stored: part.adapter === null ? 0 : model.adapterSet.bytesToSave(part.adapter),
    merged: bytesOfFiles(model),
    pass: {
      lengths: step.lengths,
      documents: objective.smallRow.length,
      products: products / passesMade,
      attention: attention / passesMade,
    },
    stepTokens: step.tokens,
    maxLength,
    steps: rows?.steps.totalSteps ?? options.maxSteps ?? null,
    epoch: rows && epochOf(rows, options),
  }
}

/** Makes a pass of a run: everything that a step computes of a batch. */
export async function passOf(objective: RunObjective, passes: ForwardModel, batch: Batch): Promise<void> {
  const { stepSums } = objective
  const sums = await stepSums?.of(passes, batch)
  const { loss } = await objective.loss(passes, batch, { gradients: true, ...(sums && { stepSums: sums }) })
  if (loss.requiresGrad !== false) await loss.backward()
  await loss.item()
  loss.dispose()
}

/** The largest pass of a step. */
interface LargestPass {
  readonly batch: Batch
  /** Tokens of its rows. */
  readonly lengths: readonly number[]
  /** Passes of the step, and its tokens. */
  readonly passes: number
  readonly tokens: number
}

/** Returns the largest pass of steps whose rows all have the maximum length. */
function longestPass(
  { smallRow }: RunObjective,
  { batchSize, microBatchSize }: TrainSettings,
  maxLength: number,
  tokenBudget: number,
): LargestPass {
  const lengths = Array.from({ length: batchSize }, () => smallRow.length * maxLength)
  const planned = planMicroBatches(lengths, microBatchSize === undefined ? { tokenBudget } : { microBatchSize })
  const rows = planned.reduce((most, rows) => (rows.length > most.length ? rows : most))
  const own = rows.map((row) => lengths[row]!)
  return { batch: batchOf(own, smallRow.length), lengths: own, passes: planned.length, tokens: sumOf(lengths) }
}

/** Returns the largest pass of the first steps, and the tokens of a step on average. */
async function largestPass(rows: RunRows, tokenBudget: number): Promise<LargestPass> {
  let largest: LargestPass | null = null
  const looked = rows.allRows ? Math.min(rows.steps.totalSteps, MOST_STEPS) : 1
  let tokens = 0
  for (let step = 0; step < looked; step++) {
    await rows.steps.prepare(step)
    const batches = [...rows.batchesOf(await rows.steps.rowsOfStep(step), tokenBudget)]
    for (const batch of batches) {
      tokens += batch.ids.length
      if (largest && batch.ids.length <= largest.batch.ids.length) continue
      const lengths = Array.from(batch.offsets.subarray(1), (end, i) => end - batch.offsets[i]!)
      largest = { batch, lengths, passes: batches.length, tokens: 0 }
    }
  }
  rows.steps.close()
  return { ...largest!, tokens: tokens / looked }
}

function epochOf({ allRows }: RunRows, { batchSize }: TrainSettings): Counted['epoch'] {
  const [rows] = allRows ?? []
  return rows ? { steps: Math.ceil(rows.length / batchSize), rows: rows.length, tokens: rows.summary.tokens } : null
}

/** Returns the bytes of the model's weights as they are written after merging: in 16 bits, unless its file has float32. */
function bytesOfFiles({ source, base }: Model): number {
  const values = [...base.weights.values()].map(elementsOf)
  return (source?.storedDType() === 'float32' ? 4 : 2) * sumOf(values)
}

export const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0)

/** Refuses objectives whose rows are made by the model itself. */
function requireRows({ name, sample }: RunObjective): void {
  if (!sample) return
  throw new UsageError(
    'unfit-options',
    `Steps of ${name} write texts whose length is not known before: give the objective sft with ${optionName('maxLength')} for the tokens of a prompt and its completion.`,
  )
}

/** Returns a batch of rows of these lengths, in `documents` documents each, all tokens of which are trained. */
export function batchOf(lengths: readonly number[], documents: number): Batch {
  return packRows(
    lengths.map((length) => {
      const tokens = Math.max(2, Math.ceil(length / documents))
      const one = { ids: new Int32Array(tokens), mask: new Uint8Array(tokens).fill(1) }
      return { documents: Array.from({ length: documents }, () => one) }
    }),
  )
}

/** Returns the maximum number of tokens of a pass, which depends on the memory of the real device. */
function budgetOf(model: Model, options: TrainSettings, device: CountedDevice): number {
  try {
    return device.withRealMemory(() => tokenBudget(model, options.memory))
  } catch (error) {
    if (error instanceof MoraError && error.code === 'too-little-memory') return LEAST_TOKENS
    throw error
  }
}

/** Returns a source whose matrices are not quantised on loading, but made at once in their format. */
function unread(source: ModelSource): ReturnType<Parameters<typeof makeModel>[1]['read']> {
  return {
    loadInto: (name, target) => source.loadInto(name, target),
    keptFormat: (name) => source.keptFormat(name),
    loadKept: (names, device) =>
      source.quantise === null ? source.loadKept(names, device) : emptyBlocks(source, names, device),
  }
}

function emptyBlocks(source: ModelSource, names: readonly string[], device: NativeDevice): Weight | null {
  const shapes = names.map((name) => source.shapes.get(name) as [number, number])
  const [rows, columns] = [shapes.reduce((sum, [rows]) => sum + rows, 0), shapes[0]![1]]
  const format = source.keptFormat(names[0]!)
  if (format !== 'nf4') return weightOf(Tensor.empty([rows, columns], { device, dtype: format as BlockDType }))
  if (names.length > 1) return null
  return nf4Weight(columns, {
    codes: Tensor.empty([rows, columns / 2], { device, dtype: 'uint8' }),
    table: Tensor.empty([16], { device }),
    scales: Tensor.empty([Math.ceil((rows * columns) / NF4_BLOCK)], { device }),
  })
}
