import { randomStream } from '../data/philox.js'
import type { FloatDType, NativeDevice } from '../native.js'
import { keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import type { WeightLoader } from './llama.js'
import type { ModelSource } from './source.js'

/** Loads weights by a function that fills memory: from a file, or with random values. */
export class Weights implements WeightLoader {
  constructor(
    readonly device: NativeDevice,
    readonly dtype: FloatDType,
    readonly fill: (name: string, target: Tensor) => void,
  ) {}

  matrix(name: string, shape: readonly [number, number]): Tensor {
    return this.#make(name, shape, this.dtype)
  }

  vector(name: string, length: number): Tensor {
    return this.#make(name, [length], 'float32')
  }

  bias(name: string, length: number): Tensor {
    return this.#make(name, [length], this.dtype)
  }

  fused(
    names: readonly string[],
    outFeatures: readonly number[],
    inFeatures: number,
  ): { whole: Tensor; parts: Tensor[] } {
    const rows = outFeatures.reduce((sum, count) => sum + count, 0)
    const whole = keep(Tensor.empty([rows, inFeatures], this))
    let from = 0
    const parts = names.map((name, i) => {
      const part = keep(whole.rows(from, from + outFeatures[i]!))
      from += outFeatures[i]!
      this.fill(`${name}.weight`, part)
      return part
    })
    return { whole, parts }
  }

  #make(name: string, shape: readonly number[], dtype: FloatDType): Tensor {
    const tensor = keep(Tensor.empty(shape, { device: this.device, dtype }))
    this.fill(name, tensor)
    return tensor
  }
}

export function storedWeights(source: ModelSource, dtype: FloatDType, device: NativeDevice): Weights {
  return new Weights(device, dtype, (name, target) => source.loadInto(name, target))
}

/** Weights to pretrain from: normal with the configuration's deviation, norms 1, biases 0; a function of seed and name. */
export function randomWeights(config: ModelConfig, seed: number, dtype: FloatDType, device: NativeDevice): Weights {
  return new Weights(device, dtype, (name, target) => {
    const random = randomStream(seed, 'init', name)
    const value = name.endsWith('norm.weight')
      ? () => 1
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
