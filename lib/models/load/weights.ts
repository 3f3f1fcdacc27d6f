import { randomStream } from '../../common/random.js'
import { bytesOf, elementsOf, type FloatDType, type NativeDevice } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { type StorageFormat, type Weight, weightOf } from '../../tensor/weight.js'
import type { WeightLoader } from '../network/linear-layers.js'
import type { ModelConfig } from '../network/model-config.js'
import { normsOf, weightShapes } from '../network/plan.js'
import { networkUnits } from '../network/units.js'
import type { ModelSource } from '../read/model-source.js'
import type { QuantisedForm } from '../read/stored-weight.js'

/** Matrices that stay as their file stores them. */
export interface KeptWeights {
  /** The format that a matrix stays in; null where it becomes floats. */
  format(name: string): StorageFormat | null
  /** Matrices of one format with equally many columns, one below the other as a new weight; null where they cannot be. */
  load(names: readonly string[]): Weight | null
}

/** Loads weights by a function that fills memory: from a file, or with random values. */
export class Weights implements WeightLoader {
  readonly #shapes: ReadonlyMap<string, readonly number[]>

  constructor(
    readonly config: ModelConfig,
    readonly device: NativeDevice,
    readonly dtype: FloatDType,
    readonly fill: (name: string, target: Tensor) => void,
    readonly kept: KeptWeights | null = null,
  ) {
    this.#shapes = weightShapes(config)
  }

  shapeOf(name: string): readonly number[] {
    return this.#shapes.get(name)!
  }

  /** Whether a matrix stays as its file stores it. */
  isKept(name: string): boolean {
    return this.#format(name) !== null
  }

  weight(name: string): Weight {
    return this.#format(name) === null ? weightOf(this.#make(name, this.dtype)) : keepWeight(this.kept!.load([name])!)
  }

  bias(name: string): Tensor {
    return this.#make(name, this.dtype)
  }

  norm(name: string): Tensor {
    return this.#make(name, 'float32')
  }

  fused(names: readonly string[]): { whole: Weight | null; parts: Weight[] } {
    const formats = new Set(names.map((name) => this.#format(name)))
    const shapes = names.map((name) => this.#shapes.get(name)!)
    const rows = shapes.reduce((sum, [count]) => sum + count!, 0)
    const isKept = !formats.has(null)
    const joined =
      formats.size > 1 ? null : isKept ? this.kept!.load(names) : weightOf(Tensor.empty([rows, shapes[0]![1]!], this))
    if (!joined) return { whole: null, parts: names.map((name) => this.weight(name)) }
    const whole = keepWeight(joined)
    let from = 0
    const parts = names.map((name, i) => {
      const to = from + shapes[i]![0]!
      const part = keepWeight(whole.rows(from, to))
      from = to
      if (!isKept) this.fill(name, part.floats!)
      return part
    })
    return { whole, parts }
  }

  #format(name: string): StorageFormat | null {
    return this.kept?.format(name) ?? null
  }

  #make(name: string, dtype: FloatDType): Tensor {
    const tensor = keep(Tensor.empty(this.#shapes.get(name)!, { device: this.device, dtype }))
    this.fill(name, tensor)
    return tensor
  }
}

/** Takes a weight out of the running scope: its maker frees it. */
function keepWeight(weight: Weight): Weight {
  for (const tensor of weight.tensors) keep(tensor)
  return weight
}

/**
 * @param quantised keep matrices in the block formats that they are stored in, or these
 * @param fill reads a weight from the source, now or later
 * @throws as `ModelSource.requireWeights`
 */
export function storedWeights(
  source: ModelSource,
  dtype: FloatDType,
  device: NativeDevice,
  quantised: boolean | KeptWeights = false,
  fill: Weights['fill'] = (name, target) => source.loadInto(name, target),
): Weights {
  source.requireWeights()
  const asStored: KeptWeights = {
    format: (name) => source.keptFormat(name),
    load: (names) => source.loadKept(names, device),
  }
  const kept = quantised === true ? asStored : quantised || null
  return new Weights(source.config, device, dtype, fill, kept)
}

/** Bytes of a device that loading a model's weights takes: themselves, and one as its file has it. */
export function bytesOfWeights(source: ModelSource, dtype: FloatDType, quantised: boolean): number {
  const all = bytesByName(source, dtype, quantised)
  const sum = [...all.values()].reduce((total, bytes) => total + bytes, 0)
  return sum + Math.max(0, ...[...all.keys()].map((name) => source.weights.get(name)!.bytes))
}

/** The same of one of `size` ranks that hold the matrices together: its part, and two blocks or the largest table. */
export function bytesOfShards(source: ModelSource, dtype: FloatDType, quantised: boolean, size: number): number {
  const all = bytesByName(source, dtype, quantised)
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

function bytesByName(source: ModelSource, dtype: FloatDType, quantised: boolean): Map<string, number> {
  const { config } = source
  const norms = new Set(normsOf(config.network).flatMap(({ name }) => [`${name}.weight`, `${name}.bias`]))
  const bytesFor = ([name, shape]: [string, readonly number[]]): [string, number] => {
    const stays = quantised && source.keptFormat(name) !== null
    const width = bytesOf(norms.has(name) ? 'float32' : dtype)
    return [name, stays ? source.weights.get(name)!.bytes : width * elementsOf(shape)]
  }
  return new Map([...weightShapes(config)].map(bytesFor))
}

/** Weights to pretrain from: normal with the configuration's deviation, norms 1, biases 0; a function of seed and name. */
export function randomWeights(config: ModelConfig, seed: number, dtype: FloatDType, device: NativeDevice): Weights {
  const norms = new Map(normsOf(config.network).map(({ name, weightOffset }) => [`${name}.weight`, 1 - weightOffset]))
  return new Weights(config, device, dtype, (name, target) => {
    const random = randomStream(seed, 'init', name)
    const norm = norms.get(name)
    const value =
      norm !== undefined
        ? () => norm
        : name.endsWith('bias')
          ? () => 0
          : () => random.normal() * config.initializerRange
    const values = Tensor.from(new Float32Array(target.elements).map(value), target.shape, {
      device,
      dtype: 'float32',
    })
    target.copyFrom(values)
    values.dispose()
  })
}

/** What a checkpoint's quantised weights are in a model. */
export interface QuantisedBase extends QuantisedForm {
  /** Whether they stay as they are stored; else they are floats. */
  readonly kept: boolean
  /** Bytes that they take less where they are kept. */
  readonly saved: number
  /** Whether the file has floats, which were quantised while they were loaded. */
  readonly onLoad: boolean
}

/** Null where keeping weights as the file has them saves nothing. */
export function quantisedBase(source: ModelSource, dtype: FloatDType, kept: boolean): QuantisedBase | null {
  const saved = bytesOfWeights(source, dtype, false) - bytesOfWeights(source, dtype, true)
  return saved <= 0 ? null : { ...source.quantisedForm(), kept, saved, onLoad: source.quantise !== null }
}
