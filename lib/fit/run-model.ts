/** The model of a run, made without reading its weights, or of some of its blocks. */
import { readForeignJson } from '../io/json.js'
import { openBase } from '../models/adaptation/base.js'
import { parseConfig } from '../models/families/parse-config.js'
import { Model } from '../models/index.js'
import { chooseStorage, computingDType } from '../models/load/storage-plan.js'
import { Weights } from '../models/load/weights.js'
import type { ModelConfig } from '../models/network/model-config.js'
import type { ModelSource } from '../models/read/model-source.js'
import type { NativeDevice } from '../native/addon.js'
import { newAdapterOptions, type TrainSettings } from '../options/index.js'
import type { Tensor } from '../tensor/tensor.js'
import { loadTokenizer } from '../text/tokenizer.js'
import { mostTokens } from '../train/setup/token-budget.js'

type Origin = ConstructorParameters<typeof Weights>[0]

/** The run whose model is made. */
export interface RunToFit {
  readonly options: TrainSettings
  /** The network of a model with random weights; null: the options name a checkpoint or a configuration. */
  readonly config: ModelConfig | null
  /** Whether the rows of the options are read; otherwise all rows have the maximum length. */
  readonly readsRows: boolean
}

/** How a model is made. */
interface Making {
  readonly device: NativeDevice
  /** Returns the network to make of the model's. */
  network(config: ModelConfig, source: ModelSource | null): ModelConfig
  /** Returns how the weights of a checkpoint are read. */
  read(source: ModelSource): Omit<Origin, 'config'>
  /** Fills a weight of a model with random weights. */
  fill(target: Tensor): void
  /** Makes decisions that depend on the memory of the device. */
  decide<Result>(decision: () => Result): Result
}

/** Makes the model of a run as `mora train` loads it. */
export async function makeModel(run: RunToFit, making: Making): Promise<Model> {
  const model = await makeBase(run, making)
  const { referenceAdapter: reference, offline } = run.options
  if (reference === undefined) return model
  try {
    // The objective finds the adapter by this name.
    await model.loadAdapter(reference, reference, { allowOtherBase: true, offline })
    model.setActiveAdapters([])
    return model
  } catch (error) {
    model.dispose()
    throw error
  }
}

async function makeBase({ options, config, readsRows }: RunToFit, making: Making): Promise<Model> {
  const { model, rotaryDtype, init, offline } = options
  const { device } = making
  const tokenizer = readsRows && model !== undefined ? await loadTokenizer(model, { offline }) : null
  if (config || init !== undefined) {
    const random = making.network(config ?? parseConfig(await readForeignJson(init!), init!), null)
    const loadInto = (_: string, target: Tensor) => making.fill(target)
    const weights = new Weights({ config: random, loadInto }, device, computingDType(options.dtype, device))
    await weights.readAll(async () => {})
    return new Model({ tokenizer, weights, source: null, rotaryDtype })
  }
  const quantise = options.quantised === false ? null : options.quantise
  const source = await openBase(model!, { offline, quantise })
  const plan = making.decide(() =>
    chooseStorage(source, device, {
      dtype: options.dtype,
      quantised: options.quantised,
      ranks: 1,
      passes: needsFloats(options) ? undefined : mostTokens(options, source.config.maxPositions, device, 1),
    }),
  )
  const network = making.network(source.config, source)
  const weights = new Weights({ config: network, ...making.read(source) }, device, plan.dtype, plan.kept)
  try {
    await weights.readAll(async () => {})
    const isWhole = network === source.config
    return new Model({ tokenizer, weights, source: isWhole ? source : null, rotaryDtype, quantised: plan.quantised })
  } finally {
    source.closeFiles()
  }
}

/** Whether a run changes or rounds its weights, so that it has them as floats where memory allows. */
function needsFloats(options: TrainSettings): boolean {
  const { method } = newAdapterOptions(options)
  return method === 'full' || options.mergeEvery !== undefined || options.compute === 'int8'
}
