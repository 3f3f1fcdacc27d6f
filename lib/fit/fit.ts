/** What a run needs, said before it starts. */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { aText, check, expecting } from '../common/arguments.js'
import { freeSpace } from '../io/disk-space.js'
import { Model } from '../models/index.js'
import type { NativeDevice } from '../native/addon.js'
import {
  describedFieldsOf,
  type FitInput,
  FitSchema,
  parseOptions,
  type TrainInput,
  type TrainSettings,
} from '../options/index.js'
import { freeSystemMemory } from '../system/memory.js'
import { openDevice } from '../tensor/device.js'
import { resolveTrainOptions } from '../train/setup/resolve-options.js'
import type { Counted, CountRequest } from './count.js'
import { countMemory } from './memory.js'

/** What a run needs. Memory is that of the device: on a CPU, of the whole process. */
export interface Fit {
  /** Bytes. */
  readonly memory: {
    /** Weights of the model, and of the teachers of its objective. */
    readonly base: number
    /** Trained values, and what steps derive from them and keep. */
    readonly adapter: number
    /** Everything that a forward and a backward pass make. */
    readonly activations: number
    /** Gradients, moments and averages. */
    readonly optimizer: number
    /** Node.js, libraries and their working memory; 0 on a GPU. */
    readonly process: number
    /** The most at one time. */
    readonly peak: number
    /** What is free for the run. */
    readonly free: number
  }
  /** Bytes. */
  readonly disk: {
    /** The trained adapter, or the whole model for the method `full`. */
    readonly result: number
    /** A checkpoint, from which the run can be resumed. */
    readonly checkpoint: number
    /** The model with the adapter merged, in the dtype of its files. */
    readonly merged: number
    /** What is free; null where the file system does not say. */
    readonly free: number | null
  }
  /** Whether the memory is free. */
  readonly fits: boolean
  /** Changes of options that need less memory, the least change first; empty for a run that fits. */
  readonly advice: readonly Advice[]
}

/** A change of options, and the memory of the run with it. */
export interface Advice {
  /** The changed options. */
  readonly options: Partial<FitInput>
  /** Peak memory in bytes. */
  readonly peak: number
  /** Whether that is free. */
  readonly fits: boolean
}

/**
 * Memory of a process on a CPU besides its tensors, as seen in runs: Node.js and its heap, libraries, the buffers of
 * products.
 */
const PROCESS_BYTES = 192 * 2 ** 20

const fitArguments = {
  model: expecting('a model, or the path or hub id of one', z.union([aText, z.instanceof(Model)])),
}

/**
 * Says what `train` with these options needs: memory by part, and disk. Nothing is loaded: the memory is counted by taking a step of
 * the run without its arithmetic.
 *
 * @throws UsageError for options that `train` refuses, and what `loadModel` throws for a model that it cannot read
 */
export async function fit(model: Model | string, given: FitInput = {}): Promise<Fit> {
  check({ model }, fitArguments)
  const { output = '.', ...options } = parseOptions(FitSchema, given)
  const run = resolveTrainOptions(trainOptions(model, options))
  const config = model instanceof Model && model.source === null ? model.config : null
  const request = { options: run, config, lengths: null }
  const device = model instanceof Model ? model.device : openDevice({ device: run.device })
  const counted = await countMemory(request, device)
  const free = freeFor(device, model)
  const { peak } = memoryOf(counted, device)
  const fits = peak <= free
  return {
    memory: { ...memoryOf(counted, device), free },
    disk: { ...diskOf(counted), free: await freeSpace(existing(output)) },
    fits,
    advice: fits ? [] : await adviceFor(request, counted, device, free),
  }
}

/** Returns the options of the run. */
function trainOptions(model: Model | string, options: Omit<z.output<typeof FitSchema>, 'output'>): TrainInput {
  const { json: _, config: __, quiet: ___, ...own } = options
  const data = [{ input_ids: [0, 0] }]
  if (typeof model === 'string') return { ...own, model, data }
  const [active] = model.adapterSet.activeNames()
  const config = active === undefined ? undefined : model.adapters.get(active)
  const { quantised, dtype } = model
  return {
    ...own,
    ...(config &&
      Object.fromEntries(describedFieldsOf(config.method).map((name) => [name, Reflect.get(config, name)]))),
    ...(model.source ? { model: model.source.located.path, quantised: quantised?.kept } : { model: undefined }),
    ...(quantised?.onLoad && { quantise: quantised.format as TrainInput['quantise'] }),
    dtype,
    data,
  }
}

function memoryOf({ base, adapter, activations, optimizer, peak }: Counted, { kind }: NativeDevice) {
  const process = kind === 'cpu' ? PROCESS_BYTES : 0
  return { base, adapter, activations, optimizer, process, peak: peak + process }
}

/** Returns the bytes that a run may take: a loaded model is a part of it. */
function freeFor(device: NativeDevice, model: Model | string): number {
  const { totalMemory } = device.facts()
  const isLoaded = typeof model !== 'string'
  if (device.kind !== 'cpu') return totalMemory - (isLoaded ? 0 : device.memory().inUse)
  return Math.min(totalMemory, freeSystemMemory() + (isLoaded ? process.memoryUsage.rss() : 0))
}

function diskOf({ trained, stored, isFull, merged }: Counted) {
  return { result: isFull ? merged : stored, checkpoint: 12 * trained + (isFull ? 0 : stored), merged }
}

/** Returns the nearest folder above a path that exists. */
function existing(path: string): string {
  let folder = resolve(path)
  while (!existsSync(folder)) folder = dirname(folder)
  return folder
}

/** Counts the memory of the run with each change that may need less of it, and with all of them. */
async function adviceFor(
  request: CountRequest,
  counted: Counted,
  device: NativeDevice,
  free: number,
): Promise<Advice[]> {
  const changes = changesFor(request.options, counted)
  const all = Object.assign({}, ...changes) as Partial<FitInput>
  const advice: Advice[] = []
  for (const options of changes.length > 1 ? [...changes, all] : changes) {
    const settings = { ...request.options, ...options } as TrainSettings
    const { peak } = memoryOf(await countMemory({ ...request, options: settings }, device), device)
    advice.push({ options, peak, fits: peak <= free })
  }
  return advice
}

/** Lists changes of options that need less memory: first those that change nothing but time. */
function changesFor(
  options: TrainSettings,
  { dtype, quantised, passRows, maxLength, isFull }: Counted,
): Partial<FitInput>[] {
  const changes: Partial<FitInput>[] = []
  if (passRows > 1) changes.push({ microBatchSize: 1 })
  if (!options.gradientCheckpointing) changes.push({ gradientCheckpointing: true })
  if (!isFull && options.init === undefined) {
    if (quantised && !quantised.kept) changes.push({ quantised: true })
    else if (!quantised) changes.push({ quantise: 'nf4' })
  }
  if (dtype === 'float32') changes.push({ dtype: 'bfloat16' })
  if (maxLength > 256) changes.push({ maxLength: Math.ceil(maxLength / 2) })
  if (isFull && options.init === undefined) changes.push({ method: 'mora' })
  return changes
}
