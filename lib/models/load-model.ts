import { setImmediate as nextTurn } from 'node:timers/promises'
import { aText, check, expecting, having, optionsSchema, wholeFrom } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { readForeignJson } from '../io/json.js'
import { bytesPerValue, elementsOf, type FloatDType, type NativeDevice } from '../native/addon.js'
import { type DeviceOptions, openDevice } from '../tensor/device.js'
import type { HostRanks } from '../tensor/host-memory.js'
import { requireFreeMemory } from '../tensor/memory-budget.js'
import type { ShardRanks } from '../tensor/shards.js'
import { aTokenizer, loadTokenizer, type Tokenizer } from '../text/tokenizer.js'
import { openBase } from './adaptation/base.js'
import { parseConfig } from './families/parse-config.js'
import type { QuantiseFormat } from './formats.js'
import { readOnRanks } from './load/read-on-ranks.js'
import { computingDType, planStorage } from './load/storage-plan.js'
import { randomWeights, Weights } from './load/weights.js'
import { checkLoadOptions } from './load-options.js'
import { Model } from './model.js'
import type { ModelConfig } from './network/model-config.js'
import { weightShapes } from './network/plan.js'

/** Options of `loadModel` for the storage of weights. */
export interface LoadOptions extends DeviceOptions, HubOptions {
  /**
   * The dtype of activations and frozen weights; `auto` (default) is bfloat16 where the device multiplies it fast, else
   * float32.
   */
  dtype?: 'auto' | FloatDType
  /**
   * Precision of the rotary frequencies. `float32` (default) is what Hugging Face computes when it loads a checkpoint;
   * `bfloat16` reproduces a PyTorch model that was cast as a whole with `model.to(bfloat16)`, frequencies included.
   */
  rotaryDtype?: 'float32' | 'bfloat16'
  /**
   * Whether to keep matrices as the file stores them, in GGUF blocks or in the codes of a quantised checkpoint: they take as
   * much memory as in the file, and products unpack them in panels; on CPUs, generation is faster with GGUF's blocks. False
   * converts them to `dtype`. By default they are converted, unless only the stored form fits into memory. Adapters work beside
   * such weights; merging into them is refused.
   */
  quantised?: boolean
  /**
   * Quantise a float model's linear layers on loading, one weight at a time, so that the whole model is never in memory as
   * floats; embeddings, head, norms and biases stay in `dtype`. NF4 is rounded as bitsandbytes does, the others as ggml's
   * quantisers do; rows that do not fill the blocks of `q4_k` become `q5_0`. For adapters, the quantised model is a different
   * base from the float model.
   */
  quantise?: QuantiseFormat
  /**
   * Ranks that shard the model (from `connectRanks`): each loads it with this option, reads a part of it and keeps 1 / size of
   * every matrix. The matrices of a block are gathered when a pass needs them, so all ranks have to make the same passes, as
   * `train` with the same `ranks` does. If all ranks compute on the CPUs of one machine, they share its memory instead, as with
   * `ranks`. Adapters work beside such weights; full training, merging and generation are refused.
   */
  shard?: ShardRanks
  /**
   * Ranks that load the same model at the same time (from `connectRanks`). The ranks of one machine whose device is `cpu` store
   * its matrices once: each reads a part of them into shared memory. A matrix that a rank changes becomes its own copy. Where
   * memory cannot be shared, a warning says why, and each rank has a copy. A rank that fails has to call `abort`, since the
   * others wait for it.
   */
  ranks?: HostRanks
}

/** The purpose of loading a model. */
interface LoadPurpose extends Pick<Parameters<typeof openBase>[1], 'adapter' | 'allowOtherBase'> {
  /** The passes it makes: they decide whether quantised weights stay quantised if the options don't say. */
  passes?: number | 'one token' | ((config: ModelConfig, device: NativeDevice) => number | 'one token') | undefined
}

/**
 * Loads a model: a folder with `config.json` and safetensors, a `.gguf` file, a hub id (`owner/name`, `owner/name@revision`,
 * `owner/name/file.gguf`), which is downloaded to the hub's cache, or `ollama:NAME`, which Ollama stores. Block formats are
 * converted to `dtype`, unless `quantised` is set. Throws a UsageError that names what is missing or unsupported, an InputError for malformed files, a RunError for
 * failed downloads, and the reason of an aborted `signal`.
 *
 * ```ts
 * import { loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf', { device: 'auto' })
 * console.log(model.dtype, model.config.layers, model.quantised)
 * model.dispose()
 * ```
 */
export function loadModel(model: string, options: LoadOptions = {}): Promise<Model> {
  return loadModelFor({}, model, options)
}

const aModel = { model: expecting('the path or hub id of a model', aText) }

/** Loads a model as `loadModel` does, for a purpose. @throws what `loadModel` and `loadAdapter` throw */
export async function loadModelFor(
  { adapter, allowOtherBase, passes }: LoadPurpose,
  model: string,
  options: LoadOptions,
): Promise<Model> {
  check({ model }, aModel)
  checkCall(options)
  const { signal, offline, onDownload, onWarning, ranks, shard, rotaryDtype } = options
  signal?.throwIfAborted()
  const hub = { offline, onDownload, onWarning, signal }
  const device = openDevice(options)
  const quantise = options.quantised === false ? null : options.quantise
  const source = await openBase(model, { ...hub, adapter, allowOtherBase, quantise })
  const { prompts } = source.embeddings
  if (prompts.length > 0)
    onWarning?.(
      `${source.path} has prompts for embeddings (${prompts.join(', ')}), which are not added to texts: begin texts with them.`,
    )
  const plan = planStorage(source, device, {
    dtype: options.dtype,
    quantised: options.quantised,
    ranks: shard?.size ?? 1,
    passes: typeof passes === 'function' ? passes(source.config, device) : passes,
  })
  const together = ranks ?? shard
  const readMatrices = together ? readOnRanks(together, shard) : readAlone
  // Its process loads it while this one reads the weights.
  const tokenizer = loadTokenizer(source.path)
  const failure = new AbortController()
  tokenizer.catch((error: unknown) => failure.abort(error))
  const stop = AbortSignal.any([failure.signal, ...(signal ? [signal] : [])])
  const weights = new Weights(source, device, plan.dtype, plan.kept)
  let loaded: Model | null = null
  try {
    await readMatrices(weights, async () => {
      await nextTurn()
      stop.throwIfAborted()
    })
    loaded = new Model({ tokenizer: await tokenizer, weights, source, rotaryDtype, quantised: plan.quantised })
    await device.synchronize()
    if (adapter !== undefined) await loaded.loadAdapter(adapter, 'default', { ...hub, allowOtherBase })
    return loaded
  } catch (error) {
    ;(loaded ?? weights).dispose()
    throw error
  } finally {
    source.closeFiles()
  }
}

const readAlone: ReturnType<typeof readOnRanks> = (weights, betweenGroups) => weights.readAll(betweenGroups)

const ofHost = ['rank', 'size', 'host', 'gather'] as const
const ranksOfHost = having('ranks (connectRanks gives them)', ...ofHost)
const ranksOfShards = having('ranks (connectRanks gives them)', ...ofHost, 'broadcast', 'share')

const loadArguments = {
  options: optionsSchema('the options of a model', {
    ...hubKinds,
    shard: ranksOfShards.optional(),
    ranks: ranksOfHost.optional(),
  }),
}

function checkCall(given: LoadOptions): void {
  check({ options: given }, loadArguments)
  const { onDownload: _, onWarning: __, signal: ___, shard: ____, ranks: _____, ...options } = given
  checkLoadOptions(options)
}

/** Options of `initModel`. */
export interface InitModelOptions extends Omit<LoadOptions, 'quantised' | 'quantise' | 'shard' | 'ranks'> {
  /** The seed of the random weights, default 0. */
  seed?: number
  /** The model's tokenizer; without one, the model reads only ids. */
  tokenizer?: Tokenizer | null
}

const initModelArguments = {
  configPath: expecting('the path of a config.json', aText),
  options: optionsSchema('the options of a model', {
    seed: wholeFrom(0).optional(),
    tokenizer: aTokenizer.nullable().optional(),
  }),
}

/**
 * Makes a model with random weights from a `config.json`, to pretrain from scratch.
 *
 * ```ts
 * import { initModel, loadTokenizer, train } from 'node-mora'
 *
 * const tokenizer = await loadTokenizer('tokenizer')
 * const model = await initModel('config.json', { tokenizer, seed: 1 })
 * await train(model, { data: 'valid.txt', output: 'from-scratch', maxSteps: 2 }).finished
 * ```
 */
export async function initModel(configPath: string, given: InitModelOptions = {}): Promise<Model> {
  check({ configPath, options: given }, initModelArguments)
  const { seed = 0, tokenizer = null, ...options }: InitModelOptions & LoadOptions = given
  checkCall(options)
  if (options.quantise !== undefined) {
    throw new UsageError(
      'unfit-options',
      `${TheOption('quantise')} is of models with trained weights: random ones are trained whole.`,
    )
  }
  options.signal?.throwIfAborted()
  const device = openDevice(options)
  const config = parseConfig(await readForeignJson(configPath), configPath, options.onWarning)
  const dtype = computingDType(options.dtype, device)
  const sizes = [...weightShapes(config).values()].map(elementsOf)
  const [all, largest] = [sizes.reduce((sum, size) => sum + size, 0), Math.max(...sizes)]
  const bytes = { tensors: bytesPerValue(dtype) * all + 4 * largest, making: 4 * largest }
  requireFreeMemory(device, bytes, `The model of ${configPath} in ${dtype}`, 'make it smaller')
  const weights = randomWeights(config, seed, dtype, device)
  return new Model({ tokenizer, weights, source: null, rotaryDtype: options.rotaryDtype })
}
