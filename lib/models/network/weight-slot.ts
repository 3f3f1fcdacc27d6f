import type { Linear } from '../../nn/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import { type Weight, weightOf } from '../../tensor/weight.js'

/** One weight of a model, matrix or vector: where forward passes find it, under its name in Hugging Face's checkpoints. */
export class WeightSlot {
  readonly #put: (weight: Weight) => void
  #current: Weight
  /** The model's own weight while another stands in for it. */
  #aside: Weight | null = null

  private constructor(
    readonly name: string,
    weight: Weight,
    put: (weight: Weight) => void,
  ) {
    this.#current = weight
    this.#put = put
  }

  /** The slot of `owner[key]`, which nothing else writes. */
  static ofWeight<K extends string>(name: string, owner: { [key in K]: Weight | null }, key: K): WeightSlot {
    return new WeightSlot(name, owner[key]!, (weight) => {
      owner[key] = weight
    })
  }

  /** The same of a vector: floats. */
  static ofVector<K extends string>(name: string, owner: { [key in K]: Tensor | null }, key: K): WeightSlot {
    return new WeightSlot(name, weightOf(owner[key]!), ({ floats }) => {
      owner[key] = floats
    })
  }

  static ofLinear(linear: Linear): WeightSlot[] {
    const weight = WeightSlot.ofWeight(`${linear.name}.weight`, linear, 'weight')
    return linear.bias ? [weight, WeightSlot.ofVector(`${linear.name}.bias`, linear, 'bias')] : [weight]
  }

  /** What forward passes use. */
  get current(): Weight {
    return this.#current
  }

  /** The model's own weight. */
  get own(): Weight {
    return this.#aside ?? this.#current
  }

  /** Gives the model another weight of its own, and frees the one before. */
  replaceOwn(parameter: Parameter): void {
    this.own.dispose()
    if (this.#aside) this.#aside = weightOf(parameter)
    else this.#use(weightOf(parameter))
  }

  /** Lets forward passes use an adapter's parameter instead of the model's own weight; null ends that. */
  standIn(parameter: Parameter | null): void {
    const { own } = this
    this.#use(parameter ? weightOf(parameter) : own)
    this.#aside = parameter ? own : null
  }

  #use(weight: Weight): void {
    this.#current = weight
    this.#put(weight)
  }
}
