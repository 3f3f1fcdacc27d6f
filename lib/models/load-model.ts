import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  aText,
  described,
  having,
  optional,
  orNull,
  requireArgument,
  requireOptionsOf,
  wholeFrom,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { aTokenizer, loadTokenizer, type Tokenizer } from '../data/tokenizer/tokenizer.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { readJsonObject } from '../io/json.js'
import { bytesOf, elementsOf, type FloatDType, type NativeDevice } from '../native/addon.js'
import { checkLoadedForm, LoadSchema, parseOptions, type QuantiseFormat } from '../options/index.js'
import { type DeviceOptions, openDevice } from '../tensor/device.js'
import { HostMemory, type HostRanks } from '../tensor/host-memory.js'
import { freeMemory, requireRoom } from '../tensor/room.js'
import type { ShardRanks } from '../tensor/shards.js'
import type { Tensor } from '../tensor/tensor.js'
import { type ComingAdapter, openBase, requireBase } from './adaptation/open-base.js'
import { parseConfig } from './families/parse-config.js'
import type { GroupedWeights } from './load/grouped-weights.js'
import { decodesAsFast, trainsAsFast } from './load/kept-by-default.js'
import type { ModelParts } from './load/model-parts.js'
import { quantiseAhead } from './load/quantise-ahead.js'
import { shardedWeights } from './load/sharded-weights.js'
import { sharedWeights } from './load/shared-weights.js'
import { bytesOfShards, bytesOfWeights, randomWeights, storedWeights, type Weights } from './load/weights.js'
import { Model } from './model.js'
import type { ModelConfig } from './network/model-config.js'
import { weightShapes } from './network/plan.js'
import { ModelSource } from './read/model-source.js'

/** How `loadModel` places a model's weights. */
export interface LoadOptions extends DeviceOptions, HubOptions {
  /** The dtype of activations and frozen weights; `auto` (default) is bfloat16 where the device multiplies it fast, else float32. */
  dtype?: 'auto' | FloatDType
  /**
   * Precision of the rotary frequencies. `float32` (default) is what Hugging Face computes when it loads a checkpoint;
   * `bfloat16` reproduces a PyTorch model that was cast as a whole with `model.to(bfloat16)`, frequencies included.
   */
  rotaryDtype?: 'float32' | 'bfloat16'
  /**
   * Keep matrices as the file stores them, in blocks of GGUF or in codes of a quantised checkpoint: they take the file's memory,
   * and products make their values in panels; the CPU generates faster on GGUF's blocks. False: they are turned into
   * `dtype`. By default they are too, unless only what is kept fits the memory. Adapters work beside such weights; merging
   * into them is refused.
   */
  quantised?: boolean
  /**
   * Quantise a float model's linear layers while it is loaded, one weight after the other, so that the model is never held in
   * floats; embeddings, head, norms and biases stay in `dtype`. NF4 is rounded as bitsandbytes does, the others as ggml's
   * quantisers do; rows that do not fill the blocks of `q4_k` become `q5_0`. The model is another base than its floats.
   */
  quantise?: QuantiseFormat
  /**
   * Ranks that hold the model together (`connectRanks` gives them): each of them loads it with these, reads a part of it and
   * keeps 1 / size of every matrix, as it is used. Those of a block are gathered when a pass needs them, so all ranks make the
   * same passes, as `train` with the same `ranks` does. Where all are of one machine and compute on its CPUs, they share its memory
   * instead, as with `ranks`. Adapters work beside such weights; full training, merging and writing
   * texts are refused.
   */
  shard?: ShardRanks
  /**
   * Ranks that load the same model at the same time (`connectRanks` gives them). Those of a machine whose device is `cpu` hold
   * its matrices once: each reads a part of them into memory that all map. What one of them changes is its own from then on. Where
   * they cannot, a warning says why, and each has a copy. One that fails has to tell the others (`abort`), which wait for it.
   */
  ranks?: HostRanks
}

function resolveDType(dtype: 'auto' | FloatDType, device: NativeDevice): FloatDType {
  if (dtype !== 'auto') return dtype
  return device.facts().fastBfloat16 ? 'bfloat16' : 'float32'
}

/**
 * Loads a model: a folder with `config.json` and safetensors, a `.gguf` file, or a hub id (`owner/name`,
 * `owner/name@revision`, `owner/name/file.gguf`), which is downloaded to the hub's cache. Block formats are turned into
 * `dtype`, unless `quantised` is set. Throws a UsageError for what is missing or not supported, by name, an InputError for malformed files, and a
 * RunError for what fails on the way from the hub; a `signal` that is aborted ends it with its reason.
 */
export function loadModel(model: string, options: LoadOptions = {}): Promise<Model> {
  return load(model, options, () => false)
}

/** The same for an adapter, which is refused before the model takes memory where it belongs to another base. */
export function loadForAdapter(model: string, options: LoadOptions, coming: ComingAdapter): Promise<Model> {
  return load(model, options, () => false, { coming })
}

/** The same to write texts with: by default, quantised weights stay as they are where that takes no longer for a token. */
export function loadForGeneration(
  model: string,
  options: LoadOptions = {},
  coming: ComingAdapter = {},
): Promise<Model> {
  return load(model, options, (source, { kind }) => decodesAsFast(source.quantisedForm(), kind), { coming })
}

/**
 * Loads an adapter on its base, in floats that are quantised again where it was trained on such.
 * @throws what `loadModel` and `loadAdapter` throw
 */
export async function loadAdapted(
  model: string,
  adapter: string,
  { allowOtherBase, ...options }: LoadOptions & { allowOtherBase?: boolean },
): Promise<Model> {
  const base = await openBase(model, adapter, options)
  const quantise = base.quantise ?? options.quantise
  const beside = { opened: base, coming: { adapter, allowOtherBase } }
  const loaded = await load(model, { ...options, quantise }, () => false, beside)
  try {
    await loaded.loadAdapter(adapter, 'default', { ...options, allowOtherBase })
    return loaded
  } catch (error) {
    loaded.dispose()
    throw error
  }
}

/**
 * The same as `loadModel` to train with: by default, quantised weights stay as they are where that hardly slows passes of
 * `tokens` tokens down.
 * @param tokens of a pass; null of training that needs floats
 */
export function loadForTraining(
  model: string,
  options: LoadOptions,
  tokens: ((config: ModelConfig, device: NativeDevice) => number) | null,
): Promise<Model> {
  return load(model, options, (source, device) => {
    return tokens !== null && trainsAsFast(source.quantisedForm(), device.kind, tokens(source.config, device))
  })
}

/**
 * @param keeps whether quantised weights stay as they are where the options do not say it
 * @param beside `opened`: the model where it is open already
 */
async function load(
  model: string,
  options: LoadOptions,
  keeps: (source: ModelSource, device: NativeDevice) => boolean,
  { opened, coming = {} }: { opened?: ModelSource; coming?: ComingAdapter } = {},
): Promise<Model> {
  requireArgument('model', model, described(aText, 'the path or hub id of a model'))
  checkLoadOptions(options)
  const { signal } = options
  signal?.throwIfAborted()
  const device = openDevice(options)
  const stored = opened ?? (await ModelSource.open(model, options))
  const { quantise = null } = options
  const source = quantise === stored.quantise || quantise === null ? stored : stored.quantisedTo(quantise)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  source.requireWeights()
  await requireBase(source, coming, options)
  const [floats, kept] = [false, true].map((quantised) => bytesOfWeights(source, dtype, quantised)) as [number, number]
  const quantised =
    options.quantise !== undefined ||
    (options.quantised ?? (keeps(source, device) || (kept < floats && floats > freeMemory(device))))
  const smaller = dtype === 'float32' ? 'load it in bfloat16, or a smaller one' : 'load a smaller one'
  const remedy =
    quantised || kept >= floats ? smaller : `keep its weights as they are stored (quantised), or ${smaller}`
  const shard = options.shard && options.shard.size > 1 ? options.shard : null
  const tensors = shard ? bytesOfShards(source, dtype, quantised, shard.size) : quantised ? kept : floats
  requireRoom(device, { tensors }, `The model ${model} in ${dtype}`, remedy)
  const tokenizer = await loadTokenizer(source.path)
  const memory = await memoryOfHost(options, device, () => [source.identity().hash, dtype, quantised])
  const parts = { tokenizer, source, rotaryDtype: options.rotaryDtype }
  const betweenMatrices = async () => {
    await nextTurn()
    signal?.throwIfAborted()
  }
  try {
    const stored = storedWeights(source, dtype, device, quantised)
    const weights = memory
      ? await sharedWeights(stored, memory, betweenMatrices)
      : shard && (await shardedWeights(stored, shard, betweenMatrices))
    const loaded = weights ? madeOf(weights, parts) : await loadWhole(stored, parts, betweenMatrices, signal)
    try {
      await device.synchronize()
    } catch (error) {
      loaded.dispose()
      throw error
    }
    return loaded
  } finally {
    source.closeFiles()
  }
}

/** Reads all weights one by one between turns of the event loop, in which the signal may be aborted. */
async function loadWhole(
  { dtype, device, kept }: Weights,
  parts: Omit<ModelParts, 'weights'> & { source: ModelSource },
  betweenMatrices: () => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<Model> {
  const { source } = parts
  const onRead = source.quantise === null ? null : await quantiseAhead(source, device, signal)
  const unread: [name: string, target: Tensor][] = []
  let loaded: Model | null = null
  try {
    const weights = storedWeights(source, dtype, device, onRead ?? kept ?? false, (...one) => unread.push(one))
    loaded = new Model({ ...parts, weights })
    for (const [name, target] of unread) {
      await betweenMatrices()
      source.loadInto(name, target)
    }
    return loaded
  } catch (error) {
    loaded?.dispose()
    throw error
  } finally {
    onRead?.dispose()
  }
}

/** Memory for what ranks of this machine load alike; null where they share none. */
async function memoryOfHost(
  { ranks, shard }: LoadOptions,
  { kind }: NativeDevice,
  what: () => unknown,
): Promise<HostMemory | null> {
  const all = ranks ?? shard
  if (!all) return null
  const memory = await HostMemory.meet(all, kind === 'cpu' ? JSON.stringify(what()) : null)
  if (!memory || !shard || memory.readers === shard.size) return memory
  // Ranks of several machines hold the base together.
  memory.close()
  return null
}

function madeOf(weights: GroupedWeights, others: Omit<ModelParts, 'weights'>): Model {
  try {
    return new Model({ ...others, weights })
  } catch (error) {
    weights.dispose()
    throw error
  }
}

const ofHost = ['rank', 'size', 'host', 'gather'] as const
const ranksOfHost = having('ranks (connectRanks gives them)', ...ofHost)
const ranksOfShards = having('ranks (connectRanks gives them)', ...ofHost, 'broadcast', 'share')

function checkLoadOptions(given: LoadOptions): void {
  requireOptionsOf('the options of a model', given, {
    ...hubKinds,
    shard: optional(ranksOfShards),
    ranks: optional(ranksOfHost),
  })
  const { onDownload: _, onWarning: __, signal: ___, shard: ____, ranks: _____, ...options } = given
  checkLoadedForm(parseOptions(LoadSchema, options, { source: 'api' }), 'api')
}

/** A model with random weights, by a `config.json`, to pretrain from scratch. */
export async function initModel(
  configPath: string,
  given: LoadOptions & { seed?: number; tokenizer?: Tokenizer | null } = {},
): Promise<Model> {
  requireArgument('configPath', configPath, described(aText, 'the path of a config.json'))
  requireOptionsOf('the options of a model', given, {
    seed: optional(wholeFrom(0)),
    tokenizer: optional(orNull(aTokenizer)),
  })
  const { seed = 0, tokenizer = null, ...options } = given
  checkLoadOptions(options)
  if (options.quantise !== undefined) {
    throw new UsageError(
      'unfit-options',
      'The option quantise is of models with trained weights: random ones are trained whole.',
    )
  }
  options.signal?.throwIfAborted()
  const device = openDevice(options)
  const config = parseConfig(await readJsonObject(configPath), configPath, options.onWarning)
  const dtype = resolveDType(options.dtype ?? 'auto', device)
  const sizes = [...weightShapes(config).values()].map(elementsOf)
  const [all, largest] = [sizes.reduce((sum, size) => sum + size, 0), Math.max(...sizes)]
  const bytes = { tensors: bytesOf(dtype) * all + 4 * largest, making: 4 * largest }
  requireRoom(device, bytes, `The model of ${configPath} in ${dtype}`, 'make it smaller')
  const weights = randomWeights(config, seed, dtype, device)
  return new Model({ tokenizer, weights, source: null, rotaryDtype: options.rotaryDtype })
}
