import { randomStream } from '../../common/random.js'
import type { FloatDType, NativeDevice } from '../../native/addon.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import type { Shards } from '../../tensor/shards.js'
import { Tensor } from '../../tensor/tensor.js'
import { type StorageFormat, type Weight, weightOf } from '../../tensor/weight.js'
import type { NetworkWeights } from '../network/linear-layers.js'
import type { ModelConfig } from '../network/model-config.js'
import { constantsOf, deltaNetsOf, normsOf, weightShapes } from '../network/plan.js'
import { networkUnits } from '../network/units.js'
import type { ModelSource } from '../read/model-source.js'

/** The origin of a network's weights: a checkpoint, or random values. */
type WeightOrigin = Pick<ModelSource, 'config' | 'loadInto'> &
  Partial<Pick<ModelSource, 'keptFormat' | 'loadKept' | 'identity'>>

/**
 * The weights that a network is made of, by name: matrices that were read beforehand (`readAll`, `put`), and weights that are
 * read on demand.
 */
export class Weights implements NetworkWeights {
  /** Gathers the matrices where ranks shard them. */
  shards: Shards | undefined
  /** Whether ranks of this machine share the matrices' memory. */
  isShared = false
  /** The matrices in the order of a pass. */
  readonly units: ReturnType<typeof networkUnits>
  readonly config: ModelConfig
  readonly #origin: WeightOrigin
  readonly #shapes: ReadonlyMap<string, readonly number[]>
  /** The matrices of a group by the name of its first one: a single stacked matrix, or one for each name. */
  readonly #ready = new Map<string, readonly Weight[]>()

  constructor(
    origin: WeightOrigin,
    readonly device: NativeDevice,
    readonly dtype: FloatDType,
    /** Whether matrices stay in their stored formats. */
    readonly kept = false,
  ) {
    this.config = origin.config
    this.units = networkUnits(this.config)
    this.#origin = origin
    this.#shapes = weightShapes(this.config)
  }

  /** Identifies the bytes of the matrices, for ranks that share memory. */
  identity(): string {
    return JSON.stringify([this.#origin.identity?.().hash, this.dtype, this.kept])
  }

  shapeOf(name: string): readonly number[] {
    return this.#shapes.get(name)!
  }

  /** Returns the shape of matrices of one width, one below the other. */
  stackedShape(names: readonly string[]): [rows: number, columns: number] {
    return [names.reduce((sum, name) => sum + this.shapeOf(name)[0]!, 0), this.shapeOf(names[0]!)[1]!]
  }

  /** Fills a tensor of the stacked shape with floats, one matrix below the other. */
  fillStacked(names: readonly string[], target: Tensor): void {
    let from = 0
    for (const name of names) {
      using rows = keep(target.rows(from, from + this.shapeOf(name)[0]!))
      this.#origin.loadInto(name, rows)
      from += rows.shape[0]!
    }
  }

  /** Whether a matrix stays as its file stores it. */
  isKept(name: string): boolean {
    return this.#format(name) !== null
  }

  /**
   * Reads all matrices, one group at a time: few are larger than the embeddings alone.
   * @param betweenGroups awaited before each; reading stops if it throws
   */
  async readAll(betweenGroups: () => Promise<void>): Promise<void> {
    for (const names of this.units.flatMap(({ groups }) => groups)) {
      await betweenGroups()
      this.put(names, this.read(names))
    }
  }

  /** Adds a group's matrices, and takes ownership of them. */
  put(names: readonly string[], matrices: readonly Weight[]): void {
    this.#ready.set(names[0]!, matrices)
  }

  /** Reads a group: one stacked weight, or one for each matrix where each has its own scales. */
  read(names: readonly string[]): Weight[] {
    return allOrNothing(() => {
      const formats = new Set(names.map((name) => this.#format(name)))
      if (formats.size === 1) {
        if (formats.has(null)) return [this.#readFloats(names)]
        const joined = this.#origin.loadKept!(names, this.device)
        if (joined) return [keepWeight(joined)]
      }
      return names.map((name) =>
        this.#format(name) === null
          ? this.#readFloats([name])
          : keepWeight(this.#origin.loadKept!([name], this.device)!),
      )
    })
  }

  weight(name: string): Weight {
    return (this.#ready.get(name) ?? this.read([name]))[0]!
  }

  bias(name: string): Tensor {
    return this.#vector(name, this.dtype)
  }

  float32(name: string): Tensor {
    return this.#vector(name, 'float32')
  }

  fused(names: readonly string[]): { whole: Weight | null; parts: Weight[] } {
    const matrices = this.#ready.get(names[0]!) ?? this.read(names)
    if (matrices.length === names.length) return { whole: null, parts: [...matrices] }
    const [whole] = matrices as [Weight]
    let from = 0
    const parts = names.map((name) => {
      const to = from + this.shapeOf(name)[0]!
      const part = keepWeight(whole.rows(from, to))
      from = to
      return part
    })
    return { whole, parts }
  }

  /** Frees the matrices that were read beforehand, if no network was made of them. */
  dispose(): void {
    for (const matrices of this.#ready.values()) for (const matrix of matrices) matrix.dispose()
    this.shards?.dispose()
  }

  #readFloats(names: readonly string[]): Weight {
    const whole = keep(Tensor.empty(this.stackedShape(names), this))
    this.fillStacked(names, whole)
    return weightOf(whole)
  }

  #format(name: string): StorageFormat | null {
    return (this.kept && this.#origin.keptFormat?.(name)) || null
  }

  #vector(name: string, dtype: FloatDType): Tensor {
    const tensor = keep(Tensor.empty(this.shapeOf(name), { device: this.device, dtype }))
    this.#origin.loadInto(name, tensor)
    return tensor
  }
}

/** Takes a weight out of the running scope; its creator frees it. */
function keepWeight(weight: Weight): Weight {
  for (const tensor of weight.tensors) keep(tensor)
  return weight
}

/**
 * Returns initial weights for pretraining: normal with the configuration's deviation, norms 1, biases 0, and of delta nets
 * rates up to 16 and step biases 1; a function of seed and name.
 */
export function randomWeights(config: ModelConfig, seed: number, dtype: FloatDType, device: NativeDevice): Weights {
  const { network } = config
  const norms = normsOf(network).map(({ name, weightOffset }) => [`${name}.weight`, 1 - weightOffset] as const)
  const deltaNets = deltaNetsOf(network)
  const ones = [...constantsOf(network), ...deltaNets.map(({ stepBias }) => stepBias.name)]
  const fixed = new Map([...norms, ...ones.map((name) => [name, 1] as const)])
  const rates = new Set(deltaNets.map(({ logRate }) => logRate.name))
  const loadInto = (name: string, target: Tensor): void => {
    const random = randomStream(seed, 'init', name)
    const known = fixed.get(name)
    const value =
      known !== undefined
        ? () => known
        : rates.has(name)
          ? () => Math.log(16 * (1 - random.uniform()))
          : name.endsWith('bias')
            ? () => 0
            : () => random.normal() * config.initializerRange
    const values = Tensor.from(new Float32Array(target.elements).map(value), target.shape, {
      device,
      dtype: 'float32',
    })
    target.copyFrom(values)
    values.dispose()
  }
  return new Weights({ config, loadInto }, device, dtype)
}
