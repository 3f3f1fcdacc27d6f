/** Counts the memory of a run by taking a step of it on a counting device. */
import { packRows, planMicroBatches } from '../batches/packing.js'
import { MoraError, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { readForeignJson } from '../io/json.js'
import { openBase } from '../models/adaptation/base.js'
import { parseConfig } from '../models/families/parse-config.js'
import { Model } from '../models/index.js'
import { chooseStorage, computingDType, type QuantisedBase } from '../models/load/storage-plan.js'
import { Weights } from '../models/load/weights.js'
import type { ModelConfig } from '../models/network/model-config.js'
import type { ModelSource } from '../models/read/model-source.js'
import { NF4_BLOCK, nf4Weight } from '../models/read/quantise-on-load.js'
import { type BlockDType, elementsOf, type FloatDType, type NativeDevice } from '../native/addon.js'
import type { RunObjective } from '../objectives/objective.js'
import { AdamW } from '../optim/adamw.js'
import { maxLengthOf, newAdapterOptions, type TrainSettings } from '../options/index.js'
import { Tensor } from '../tensor/tensor.js'
import { type Weight, weightOf } from '../tensor/weight.js'
import { AveragingAdamW } from '../train/averages.js'
import { planModel } from '../train/setup/plan-model.js'
import { objectiveOfRun } from '../train/setup/run-objective.js'
import { mostTokens, tokenBudget } from '../train/setup/token-budget.js'
import type { CountedDevice } from './counting-addon.js'

/** What is counted. */
export interface CountRequest {
  readonly options: TrainSettings
  /** The network of a model with random weights; null: the options name a checkpoint or a configuration. */
  readonly config: ModelConfig | null
  /** Tokens of each document of a step's rows; null: rows of the maximum length. */
  readonly lengths: readonly number[] | null
}

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
  /** Tokens of the largest forward pass, and of all passes of a step. */
  readonly passTokens: number
  readonly stepTokens: number
  /** Rows of the largest forward pass. */
  readonly passRows: number
  /** Tokens of a row. */
  readonly maxLength: number
  /** Floating-point operations of a step's products. */
  readonly flops: number
  /** Whether the weights themselves are trained. */
  readonly isFull: boolean
  /** Bytes of the adapter's file, and of the model's with the adapter merged. */
  readonly stored: number
  readonly merged: number
}

/** Fewest tokens of a pass; see `tokenBudget`. */
const LEAST_TOKENS = 256

/** Counts a run's memory. The addon of this thread must be the counting one. */
export async function countRun({ options, config, lengths }: CountRequest, device: CountedDevice): Promise<Counted> {
  const model = await countedModel(options, config, device)
  const { passes, hold } = model.holdForTraining()
  const { objective } = await objectiveOfRun(model, options, {}, [])
  requireRows(objective)
  const { inUse: base, peak: loading } = device.memory()
  const labels = objective.labels && (options.labels ?? ['0', '1'])
  await hold.change(() => planModel(model, options, () => {}).make(labels))
  passes.gradientCheckpointing = model.gradientCheckpointing
  passes.compute = model.compute
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const trained = parameters.reduce((sum, { elements }) => sum + elements, 0)
  const made = device.memory().inUse
  const budget = budgetOf(model, options, device)
  const { emaDecay } = options
  const optimizer =
    emaDecay === undefined ? new AdamW(parameters, options) : new AveragingAdamW(parameters, options, emaDecay)
  const moments = device.memory().inUse - made

  const maxLength = maxLengthOf(options.maxLength, model.config.maxPositions)
  const rowLengths = lengths ?? Array.from({ length: options.batchSize }, () => objective.smallRow.length * maxLength)
  const passesOfStep = planMicroBatches(
    rowLengths,
    options.microBatchSize === undefined ? { tokenBudget: budget } : { microBatchSize: options.microBatchSize },
  ).map((rows) => rows.map((row) => rowLengths[row]!))
  const largest = passesOfStep.reduce((most, rows) => (tokensOf(rows) > tokensOf(most) ? rows : most))

  const before = device.memory().inUse
  device.resetPeak()
  device.flops = 0
  passes.setDropout({ seed: options.seed, step: 1, neftuneAlpha: options.neftuneAlpha })
  const batch = batchOf(objective, largest)
  // A further pass adds to the gradients of the first.
  for (let pass = 0; pass < Math.min(2, passesOfStep.length); pass++) {
    const { loss } = await objective.loss(passes, batch, { gradients: true, stepSums: zerosOf(objective) })
    if (loss.requiresGrad !== false) await loss.backward()
    loss.dispose()
  }
  const flops = device.flops / Math.min(2, passesOfStep.length)
  const gradients = parameters.reduce((sum, { grad }) => sum + (grad ? 4 * grad.elements : 0), 0)
  optimizer.step({ learningRate: 1, maxGradNorm: options.maxGradNorm }).dispose()
  const { peak, inUse } = device.memory()
  // Values that steps derive from trained ones stay.
  const adapter = made - base + (inUse - before)
  const ofOptimizer = moments + gradients
  return {
    base,
    adapter,
    optimizer: ofOptimizer,
    activations: Math.max(0, peak - base - adapter - ofOptimizer),
    peak: Math.max(peak, loading),
    dtype: model.dtype,
    quantised: model.quantised,
    trained,
    passTokens: tokensOf(largest),
    passRows: largest.length,
    stepTokens: tokensOf(rowLengths),
    maxLength,
    flops: (flops * tokensOf(rowLengths)) / tokensOf(largest),
    isFull: newAdapterOptions(options).method === 'full',
    stored: made - base,
    merged:
      (model.source?.storedDType() === 'float32' ? 4 : 2) *
      [...model.base.weights.values()].reduce((sum, shape) => sum + elementsOf(shape), 0),
  }
}

const tokensOf = (lengths: readonly number[]): number => lengths.reduce((sum, length) => sum + length, 0)

const zerosOf = ({ stepSums }: RunObjective) => stepSums && new Array<number>(stepSums.length).fill(1)

/** Refuses objectives whose rows are made by the model itself. */
function requireRows({ name, sample }: RunObjective): void {
  if (!sample) return
  throw new UsageError(
    'unfit-options',
    `Steps of ${name} write texts whose length is not known before: give the objective sft with ${optionName('maxLength')} for the tokens of a prompt and its completion.`,
  )
}

/** Returns a batch of rows of these lengths, all tokens of which are trained. */
function batchOf({ smallRow }: RunObjective, lengths: readonly number[]) {
  return packRows(
    lengths.map((length) => {
      const tokens = Math.max(2, Math.ceil(length / smallRow.length))
      return { documents: smallRow.map(() => ({ ids: new Int32Array(tokens), mask: new Uint8Array(tokens).fill(1) })) }
    }),
  )
}

/** Returns the maximum number of tokens of a pass, which depends on the memory of the real device. */
function budgetOf(model: Model, options: TrainSettings, device: CountedDevice): number {
  device.hasRealMemory = true
  try {
    return tokenBudget(model, options.memory)
  } catch (error) {
    if (error instanceof MoraError && error.code === 'too-little-memory') return LEAST_TOKENS
    throw error
  } finally {
    device.hasRealMemory = false
  }
}

/** Makes the model of a run without reading its weights. */
async function countedModel(options: TrainSettings, config: ModelConfig | null, device: CountedDevice) {
  const { rotaryDtype, init } = options
  if (config || init !== undefined) {
    const random = config ?? parseConfig(await readForeignJson(init!), init!)
    const weights = new Weights({ config: random, loadInto() {} }, device, computingDType(options.dtype, device))
    await weights.readAll(async () => {})
    return new Model({ tokenizer: null, weights, source: null, rotaryDtype })
  }
  const quantise = options.quantised === false ? null : options.quantise
  const source = await openBase(options.model!, { ...options, adapter: undefined, quantise })
  device.hasRealMemory = true
  const plan = chooseStorage(source, device, {
    dtype: options.dtype,
    quantised: options.quantised,
    ranks: 1,
    passes: needsFloats(options) ? undefined : mostTokens(options, source.config.maxPositions, device, 1),
  })
  device.hasRealMemory = false
  const weights = new Weights(unread(source), device, plan.dtype, plan.kept)
  await weights.readAll(async () => {})
  return new Model({ tokenizer: null, weights, source, rotaryDtype, quantised: plan.quantised })
}

/** Whether a run changes or rounds its weights, so that it has them as floats where memory allows. */
function needsFloats(options: TrainSettings): boolean {
  const { method } = newAdapterOptions(options)
  return method === 'full' || options.mergeEvery !== undefined || options.compute === 'int8'
}

/** Returns a source whose matrices are not quantised on loading, but made at once in their format. */
function unread(source: ModelSource): ConstructorParameters<typeof Weights>[0] {
  return {
    config: source.config,
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
