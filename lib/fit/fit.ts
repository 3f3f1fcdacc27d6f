/** What a run needs, said before it starts. */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { aText, check, expecting } from '../common/arguments.js'
import { MoraError } from '../common/errors.js'
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
import type { Counted } from './count.js'
import { countMemory } from './memory.js'
import type { RunToFit } from './run-model.js'
import { secondsOfStep } from './trial.js'

/** What a run needs. */
export interface Fit {
  /** Memory of the device in bytes; on a CPU, of the whole process. */
  readonly memory: {
    /** Weights of the model, and of the teachers of its objective. */
    readonly base: number
    /** Trained values, and what steps derive from them and keep. */
    readonly adapter: number
    /** What a forward and a backward pass make, at their peak. */
    readonly activations: number
    /** Gradients, moments and averages. */
    readonly optimizer: number
    /** Node.js, libraries and their working memory; 0 on a GPU. */
    readonly process: number
    /** The most at one time. */
    readonly peak: number
    /** Free memory. */
    readonly free: number
  }
  /** Seconds of an optimizer step; null without a trial, and where the trial itself would not fit. */
  readonly secondsPerStep: number | null
  /** Seconds of an epoch; null without `data`, and for rows that are read as steps need them. */
  readonly secondsPerEpoch: number | null
  /** Tokens of a step: on average over the rows of `data`, else with rows of the maximum length. */
  readonly tokensPerStep: number
  /** Steps of the run; null where neither `data` nor `maxSteps` tells them. */
  readonly steps: number | null
  /** Bytes on the disk. */
  readonly disk: {
    /** The trained adapter, or the whole model for the method `full`. */
    readonly result: number
    /** A checkpoint, from which the run can be resumed. */
    readonly checkpoint: number
    /** The folder of the run: the result, the checkpoints that it keeps, and one that is being written. */
    readonly run: number
    /** The model with the adapter merged. */
    readonly merged: number
    /** Free space of the folder `output`; null where the file system does not say. */
    readonly free: number | null
  }
  /** Whether memory and disk are free. */
  readonly fits: boolean
  /** Changes of options after which the run needs less; empty for a run that fits. */
  readonly advice: readonly {
    /** The options to change. */
    readonly options: FitOptions
    /** Peak memory with them, in bytes. */
    readonly memory: number
    /** Bytes of the run's folder with them. */
    readonly disk: number
    /** Whether the run fits with them. */
    readonly fits: boolean
  }[]
}

/** Options of `fit`: those of `train` that change memory, time or disk. */
export interface FitOptions extends FitInput {}

/** Memory of a process on a CPU besides its tensors, as seen in runs: Node.js with its heap, libraries, buffers of products. */
const PROCESS_BYTES = 168 * 2 ** 20

const fitArguments = {
  model: expecting('a model, or the path or hub id of one', z.union([aText, z.instanceof(Model)])),
}

/**
 * Says what `train` with these options needs: memory by part, the time of a step, and disk. Memory is counted by taking a step of the run
 * without its arithmetic, in a thread, and without reading weights; the time comes from a trial of a few seconds with one block of
 * each kind. `data` is optional: without it all rows have `maxLength` tokens. A loaded model is not changed.
 *
 * ```ts
 * import { fit } from 'node-mora'
 *
 * const { memory, fits, advice } = await fit('SmolLM2-135M-Instruct.Q4_1.gguf', { method: 'mora', maxLength: 512, trial: false })
 * console.log(memory.peak, memory.free, fits, advice)
 * ```
 *
 * @throws UsageError for options that `train` refuses, and what `loadModel` throws for a model that it cannot read
 */
export async function fit(model: Model | string, options: FitOptions = {}): Promise<Fit> {
  check({ model }, fitArguments)
  const { output = '.', trial, ...given } = parseOptions(FitSchema, options)
  const run: RunToFit = {
    options: resolveTrainOptions(trainOptions(model, { ...given, output })),
    config: model instanceof Model && model.source === null ? model.config : null,
    readsRows: given.data !== undefined,
  }
  const device = model instanceof Model ? model.device : openDevice(run.options)
  const [counted] = (await countMemory([run], device)) as [Counted | MoraError]
  if (counted instanceof MoraError) throw counted
  const free = { memory: freeFor(device, model), disk: await freeSpace(existing(output)) }
  const memory = { ...memoryOf(counted, device), free: free.memory }
  const disk = { ...diskOf(counted, run.options), free: free.disk }
  const fits = isFree({ memory: memory.peak, disk: disk.run }, free)
  const secondsPerStep = trial ? await secondsIfItFits(run, counted, device) : null
  return {
    memory,
    secondsPerStep,
    secondsPerEpoch: secondsPerStep !== null && counted.epoch ? secondsPerStep * counted.epoch.steps : null,
    tokensPerStep: counted.stepTokens,
    steps: counted.steps,
    disk,
    fits,
    advice: fits ? [] : await adviceFor(run, counted, device, free),
  }
}

/** Returns the options of the run. */
function trainOptions(model: Model | string, options: Omit<z.output<typeof FitSchema>, 'trial'>): TrainInput {
  const { json: _, config: __, quiet: ___, data = [{ input_ids: [0, 0] }], ...rest } = options
  if (typeof model === 'string') return { ...rest, model, data }
  const [active] = model.adapterSet.activeNames()
  const adapter = active === undefined ? undefined : model.adapters.get(active)
  const fields = adapter ? describedFieldsOf(adapter.method).map((name) => [name, Reflect.get(adapter, name)]) : []
  const { source, quantised, dtype } = model
  return {
    ...rest,
    ...Object.fromEntries(fields),
    model: source?.located.path,
    quantised: quantised?.kept,
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

function diskOf({ trained, stored, merged, isFull, steps }: Counted, { saveEvery, keepCheckpoints }: TrainSettings) {
  const result = isFull ? merged : stored
  // Values and two moments; and the adapter's own files.
  const checkpoint = 12 * trained + (isFull ? 0 : stored)
  const written = saveEvery === undefined ? 1 : Math.ceil((steps ?? saveEvery) / saveEvery)
  const kept = Math.min(written, keepCheckpoints ?? written)
  return { result, checkpoint, run: result + (kept + 1) * checkpoint, merged }
}

/** Returns the nearest folder above a path that exists. */
function existing(path: string): string {
  let folder = resolve(path)
  while (!existsSync(folder)) folder = dirname(folder)
  return folder
}

interface Needs {
  readonly memory: number
  readonly disk: number
}

const isFree = (needs: Needs, free: { memory: number; disk: number | null }): boolean =>
  needs.memory <= free.memory && needs.disk <= (free.disk ?? Number.POSITIVE_INFINITY)

async function secondsIfItFits(run: RunToFit, counted: Counted, device: NativeDevice): Promise<number | null> {
  try {
    return await secondsOfStep(run, counted, device)
  } catch (error) {
    if (error instanceof MoraError && error.code === 'out-of-memory') return null
    throw error
  }
}

/** Counts what the run needs with each change that may make it need less, and with all of them. */
async function adviceFor(
  run: RunToFit,
  counted: Counted,
  device: NativeDevice,
  free: { memory: number; disk: number | null },
): Promise<Fit['advice']> {
  const changes = changesFor(run.options, counted, memoryOf(counted, device).peak > free.memory)
  const all: FitOptions = Object.assign({}, ...changes)
  const runs = (changes.length > 1 ? [...changes, all] : changes).map((options) => ({
    ...run,
    options: { ...run.options, ...options } as TrainSettings,
    change: options,
  }))
  const answers = await countMemory(runs, device)
  return runs.flatMap(({ change, options }, i) => {
    const changed = answers[i]!
    // The change does not go with other options.
    if (changed instanceof MoraError) return []
    const needs = { memory: memoryOf(changed, device).peak, disk: diskOf(changed, options).run }
    return [{ options: change, ...needs, fits: isFree(needs, free) }]
  })
}

/** Lists changes of options, first those that change nothing but time. */
function changesFor(options: TrainSettings, counted: Counted, needsMemory: boolean): FitOptions[] {
  const { dtype, quantised, pass, maxLength, isFull } = counted
  const isFromScratch = options.init !== undefined
  const changes: FitOptions[] = []
  if (!needsMemory) return [{ keepCheckpoints: 1 }]
  if (pass.lengths.length > pass.documents) changes.push({ microBatchSize: 1 })
  if (!options.gradientCheckpointing) changes.push({ gradientCheckpointing: true })
  if (!isFull && !isFromScratch && !quantised) changes.push({ quantise: 'nf4' })
  if (!isFull && quantised?.kept === false) changes.push({ quantised: true })
  if (dtype === 'float32') changes.push({ dtype: 'bfloat16' })
  if (maxLength > 256) changes.push({ maxLength: Math.ceil(maxLength / 2) })
  if (isFull && !isFromScratch) changes.push({ method: 'mora' })
  return changes
}
