import type { NativeDevice } from '../native.js'
import { roundedTo } from '../tensor/half.js'
import { keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'

/** Rotary position embedding of a model; names and formulas are those of Hugging Face's `rope_scaling`. */
export type RotaryScaling =
  | { type: 'default' }
  | { type: 'linear'; factor: number }
  | {
      type: 'llama3'
      factor: number
      lowFrequencyFactor: number
      highFrequencyFactor: number
      originalPositions: number
    }
  | {
      type: 'yarn'
      factor: number
      originalPositions: number
      betaFast: number
      betaSlow: number
      /** Cosines and sines are multiplied by this. */
      attentionFactor: number
      truncate: boolean
    }

export interface RotaryConfig {
  readonly theta: number
  readonly headSize: number
  readonly scaling: RotaryScaling
  /** Frequencies are rounded to this; see `LoadOptions.rotaryDtype`. */
  readonly dtype: 'float32' | 'bfloat16'
}

/** Angle per position of each pair, [headSize / 2]. */
export function inverseFrequencies({ theta, headSize, scaling }: Omit<RotaryConfig, 'dtype'>): Float64Array {
  const half = headSize / 2
  const plain = Float64Array.from({ length: half }, (_, j) => theta ** ((-2 * j) / headSize))
  switch (scaling.type) {
    case 'default':
      return plain
    case 'linear':
      return plain.map((frequency) => frequency / scaling.factor)
    case 'llama3':
      return plain.map((frequency) => {
        const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = scaling
        const turns = (originalPositions * frequency) / (2 * Math.PI)
        if (turns < low) return frequency / factor
        if (turns > high) return frequency
        const smooth = (turns - low) / (high - low)
        return ((1 - smooth) * frequency) / factor + smooth * frequency
      })
    case 'yarn': {
      const { factor, originalPositions, betaFast, betaSlow, truncate } = scaling
      const pairOfTurns = (turns: number) =>
        (headSize * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
      const [fast, slow] = [pairOfTurns(betaFast), pairOfTurns(betaSlow)]
      const low = Math.max(truncate ? Math.floor(fast) : fast, 0)
      const high = Math.min(truncate ? Math.ceil(slow) : slow, headSize - 1)
      const span = high === low ? 0.001 : high - low
      return plain.map((frequency, j) => {
        const interpolated = Math.min(1, Math.max(0, (j - low) / span))
        return (frequency / factor) * interpolated + frequency * (1 - interpolated)
      })
    }
  }
}

/** Cosines and sines [P, headSize / 2] (float32) for positions 0 to P - 1, made longer when a longer row comes. */
export class RotaryTables {
  #cosines: Tensor | null = null
  #sines: Tensor | null = null

  constructor(
    readonly config: RotaryConfig,
    readonly device: NativeDevice,
  ) {}

  upTo(positions: number): { cosines: Tensor; sines: Tensor } {
    if (!this.#cosines || !this.#sines || this.#cosines.shape[0]! < positions) {
      this.dispose()
      const length = Math.max(256, 2 ** Math.ceil(Math.log2(positions)))
      const exact = inverseFrequencies(this.config)
      const { dtype } = this.config
      const frequencies = dtype === 'float32' ? exact : exact.map((value) => roundedTo(dtype, value))
      const half = frequencies.length
      const factor = this.config.scaling.type === 'yarn' ? this.config.scaling.attentionFactor : 1
      const table = (of: (angle: number) => number) => {
        const values = Float32Array.from({ length: length * half }, (_, i) => {
          return factor * of(Math.floor(i / half) * frequencies[i % half]!)
        })
        return keep(Tensor.from(values, [length, half], { device: this.device }))
      }
      this.#cosines = table(Math.cos)
      this.#sines = table(Math.sin)
    }
    return { cosines: this.#cosines, sines: this.#sines }
  }

  dispose(): void {
    this.#cosines?.dispose()
    this.#sines?.dispose()
    this.#cosines = this.#sines = null
  }
}
