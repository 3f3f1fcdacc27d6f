import type { FloatDType, NativeDevice } from '../native.js'
import { randomStream } from '../random.js'
import { keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import { normsOf, weightShapes } from './network.js'
import type { ModelSource } from './source.js'
import type { WeightLoader } from './weight-loader.js'

/** Loads weights by a function that fills memory: from a file, or with random values. */
export class Weights implements WeightLoader {
  readonly #shapes: ReadonlyMap<string, readonly number[]>

  constructor(
    readonly config: ModelConfig,
    readonly device: NativeDevice,
    readonly dtype: FloatDType,
    readonly fill: (name: string, target: Tensor) => void,
  ) {
    this.#shapes = weightShapes(config)
  }

  weight(name: string): Tensor {
    return this.#make(name, this.dtype)
  }

  norm(name: string): Tensor {
    return this.#make(name, 'float32')
  }

  fused(names: readonly string[]): { whole: Tensor; parts: Tensor[] } {
    const shapes = names.map((name) => this.#shapes.get(name)!)
    const rows = shapes.reduce((sum, [count]) => sum + count!, 0)
    const whole = keep(Tensor.empty([rows, shapes[0]![1]!], this))
    let from = 0
    const parts = names.map((name, i) => {
      const to = from + shapes[i]![0]!
      const part = keep(whole.rows(from, to))
      from = to
      this.fill(name, part)
      return part
    })
    return { whole, parts }
  }

  #make(name: string, dtype: FloatDType): Tensor {
    const tensor = keep(Tensor.empty(this.#shapes.get(name)!, { device: this.device, dtype }))
    this.fill(name, tensor)
    return tensor
  }
}

/** @throws as `ModelSource.requireWeights` */
export function storedWeights(source: ModelSource, dtype: FloatDType, device: NativeDevice): Weights {
  source.requireWeights()
  return new Weights(source.config, device, dtype, (name, target) => source.loadInto(name, target))
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
    const values = Tensor.from(Float32Array.from({ length: target.elements }, value), target.shape, {
      device,
      dtype: 'float32',
    })
    target.copyFrom(values)
    values.dispose()
  })
}
