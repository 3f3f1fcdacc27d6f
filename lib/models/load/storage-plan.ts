/**
 * Decides how a model's weights are stored in memory: as in their files, or as floats. If the options don't say, measured costs
 * decide and not the state of the machine, so that runs on equal machines are equal.
 */
import { type BlockDType, bytesPerValue, elementsOf, type FloatDType, type NativeDevice } from '../../native/addon.js'
import { freeMemory, requireFreeMemory } from '../../tensor/memory-budget.js'
import { float32Weights } from '../network/plan.js'
import { networkUnits } from '../network/units.js'
import type { ComputingCost } from '../read/formats/format.js'
import { costsOfCodes } from '../read/formats/index.js'
import type { ModelSource } from '../read/model-source.js'
import type { QuantisedForm } from '../read/stored-weight.js'

/** The requests of a user or a command. */
interface StorageOptions {
  readonly dtype?: 'auto' | FloatDType | undefined
  /** Keep quantised weights, or convert them to floats. */
  readonly quantised?: boolean | undefined
  /** Ranks that shard the matrices. */
  readonly ranks: number
  /** The passes that the model is loaded for: a number of tokens for training, or one token at a time for generation. */
  readonly passes?: number | 'one token' | undefined
}

/** The storage of a checkpoint's weights in memory. */
interface StoragePlan {
  /** The dtype of activations and floats. */
  readonly dtype: FloatDType
  /** Whether matrices stay in their stored formats. */
  readonly kept: boolean
  readonly quantised: QuantisedBase | null
}

/** The form of a checkpoint's quantised weights in a model. */
export interface QuantisedBase extends QuantisedForm {
  /** Whether the weights stay as stored; otherwise they become floats. */
  readonly kept: boolean
  /** Bytes that keeping them saves. */
  readonly saved: number
  /** Whether the file has floats, which were quantised on loading. */
  readonly onLoad: boolean
}

/**
 * Decides how a checkpoint's weights are stored in memory.
 * @throws UsageError `too-little-memory` if they do not fit
 */
export function planStorage(source: ModelSource, device: NativeDevice, options: StorageOptions): StoragePlan {
  const plan = chooseStorage(source, device, options)
  const { dtype, kept, saved } = plan
  const smaller = dtype === 'float32' ? 'load it in bfloat16, or a smaller one' : 'load a smaller one'
  const remedy = kept || saved <= 0 ? smaller : `keep its weights as they are stored (quantised), or ${smaller}`
  const tensors =
    options.ranks > 1 ? bytesOfShards(source, dtype, kept, options.ranks) : bytesOfWeights(source, dtype, kept)
  requireFreeMemory(device, { tensors }, `The model ${source.located.reference} in ${dtype}`, remedy)
  return plan
}

/** Decides as `planStorage` does, whether or not the weights fit. `saved`: bytes that keeping quantised weights saves. */
export function chooseStorage(
  source: ModelSource,
  device: NativeDevice,
  options: StorageOptions,
): StoragePlan & { readonly saved: number } {
  const dtype = computingDType(options.dtype, device)
  const [floats, stored] = [false, true].map((kept) => bytesOfWeights(source, dtype, kept)) as [number, number]
  const saved = floats - stored
  const form = source.quantisedForm()
  const kept =
    source.quantise !== null ||
    (options.quantised ?? (isAsFast(form, device.kind, options.passes) || (saved > 0 && floats > freeMemory(device))))
  const quantised = saved > 0 ? { ...form, kept, saved, onLoad: source.quantise !== null } : null
  return { dtype, kept, saved, quantised }
}

/** The dtype that `auto` stands for on a device. */
export function computingDType(dtype: 'auto' | FloatDType | undefined, device: NativeDevice): FloatDType {
  if (dtype !== undefined && dtype !== 'auto') return dtype
  return device.facts().fastBfloat16 ? 'bfloat16' : 'float32'
}

/** Returns the device bytes that loading a model's weights takes: all of them, and one as its file stores it. */
export function bytesOfWeights(source: ModelSource, dtype: FloatDType, kept: boolean): number {
  const all = bytesByName(source, dtype, kept)
  const sum = [...all.values()].reduce((total, bytes) => total + bytes, 0)
  return sum + Math.max(0, ...[...all.keys()].map((name) => source.weights.get(name)!.bytes))
}

/** Returns the bytes of one of `size` ranks that shard the matrices: its part, and two blocks or the largest table. */
function bytesOfShards(source: ModelSource, dtype: FloatDType, kept: boolean, size: number): number {
  const all = bytesByName(source, dtype, kept)
  const units = networkUnits(source.config).map(({ isBlock, groups }) => ({
    isBlock,
    bytes: groups.flat().reduce((sum, name) => sum + all.get(name)!, 0),
  }))
  const largest = (blocks: boolean) =>
    Math.max(0, ...units.filter(({ isBlock }) => isBlock === blocks).map(({ bytes }) => bytes))
  const matrices = units.reduce((sum, { bytes }) => sum + bytes, 0)
  const vectors = [...all.values()].reduce((sum, bytes) => sum + bytes, 0) - matrices
  return matrices / size + vectors + Math.max(2 * largest(true), largest(false))
}

function bytesByName(source: ModelSource, dtype: FloatDType, kept: boolean): Map<string, number> {
  const { config } = source
  const alwaysFloat32 = float32Weights(config.network)
  const bytesFor = ([name, shape]: [string, readonly number[]]): [string, number] => {
    const { keptFormat, bytes } = source.weights.get(name)!
    if (kept && keptFormat !== null) return [name, bytes]
    return [name, bytesPerValue(alwaysFloat32.has(name) ? 'float32' : dtype) * elementsOf(shape)]
  }
  return new Map([...source.shapes].map(bytesFor))
}

/**
 * Costs of GGUF's blocks. They and the costs of codes (`read/formats`) were measured on cores of a Zen 4, whose products wait less
 * for memory than products of more cores. For training: nf4 by whole steps of SmolLM2-135M (LoRA, 1 × 128 tokens, one core),
 * blocks by the time of unpacking them, which is a little more than such steps show (they took 0.94–1.02 times as long), all
 * others by the products of 128 tokens alone, forward and backward; where products take longer, as in float32, less is lost.
 * For decoding: on two cores, with weights larger than the caches.
 */
const BLOCKS: Readonly<Record<BlockDType, ComputingCost>> = {
  q4_0: { training: 10, decoding: 0.5 },
  q4_1: { training: 10, decoding: 0.5 },
  q5_0: { training: 15, decoding: 0.6 },
  q5_1: { training: 15, decoding: 0.6 },
  q8_0: { training: 10, decoding: 0.7 },
  q2_k: { training: 15, decoding: 0.6 },
  q3_k: { training: 15, decoding: 0.6 },
  q4_k: { training: 10, decoding: 0.6 },
  q5_k: { training: 15, decoding: 0.8 },
  q6_k: { training: 15, decoding: 0.9 },
  iq4_nl: { training: 10, decoding: 0.7 },
  iq4_xs: { training: 10, decoding: 0.6 },
  mxfp4: { training: 10, decoding: 1.1 },
  tq1_0: { training: 15, decoding: 0.6 },
  tq2_0: { training: 10, decoding: 0.5 },
}

const CPU: Readonly<Record<string, ComputingCost>> = { ...BLOCKS, ...costsOfCodes }

/** Costs of any of these formats where inputs are reordered: the scale of each is looked up. */
const ORDERED: ComputingCost = { training: 90, decoding: 7.5 }

/**
 * `ComputingCost.training` of any format on an H100, predicted; smaller GPUs compute less for each byte that they move, so they
 * lose less.
 */
const GPU = 230

/** The slowdown up to which weights are kept by default. */
const MOST = 1.15

function costOf({ format, ordered }: QuantisedForm): ComputingCost | null {
  if (!Object.hasOwn(CPU, format)) return null
  return ordered ? ORDERED : CPU[format]!
}

/** Returns how many times as long a pass of `tokens` tokens takes with kept weights as with floats; null for float formats. */
export function slowdown(form: QuantisedForm, device: string, tokens: number): number | null {
  const cost = costOf(form)
  return cost && 1 + (device === 'cpu' ? cost.training : GPU) / tokens
}

/** Whether passes are about as fast with kept weights as with floats. Generation on GPUs was not measured. */
export function isAsFast(form: QuantisedForm, device: string, passes: StorageOptions['passes']): boolean {
  const cost = costOf(form)
  if (cost === null || passes === undefined) return false
  return passes === 'one token' ? device === 'cpu' && cost.decoding <= 1 : slowdown(form, device, passes)! <= MOST
}
