import type { Linear } from '../../nn/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import { type Weight, weightOf } from '../../tensor/weight.js'

/**
 * The place of one weight of a model, matrix or vector, where forward passes find it; named as in Hugging Face's checkpoints.
 */
export class WeightSlot {
  readonly #put: (weight: Weight) => void
  #current: Weight
  /** The model's own weight while another replaces it. */
  #aside: Weight | null = null
  /** The same weight each time a parameter stands in, so that recordings of passes with it stay valid. */
  readonly #standIns = new WeakMap<Parameter, Weight>()

  private constructor(
    readonly name: string,
    weight: Weight,
    put: (weight: Weight) => void,
    /** Whether the weight is never trained. */
    readonly isConstant = false,
  ) {
    this.#current = weight
    this.#put = put
  }

  /** Makes the slot of `owner[key]`, which nothing else writes. */
  static ofWeight<K extends string>(name: string, owner: { [key in K]: Weight | null }, key: K): WeightSlot {
    return new WeightSlot(name, owner[key]!, (weight) => {
      owner[key] = weight
    })
  }

  /** Makes the slot of a vector of floats. */
  static ofVector<K extends string>(name: string, owner: { [key in K]: Tensor | null }, key: K): WeightSlot {
    return new WeightSlot(name, weightOf(owner[key]!), ({ floats }) => {
      owner[key] = floats
    })
  }

  /** Makes the slot of a vector of floats that is never trained. */
  static ofConstant(name: string, values: Tensor): WeightSlot {
    return new WeightSlot(name, weightOf(values), () => {}, true)
  }

  static ofLinear(linear: Linear): WeightSlot[] {
    const weight = WeightSlot.ofWeight(`${linear.name}.weight`, linear, 'weight')
    return linear.bias ? [weight, WeightSlot.ofVector(`${linear.name}.bias`, linear, 'bias')] : [weight]
  }

  /** The weight that forward passes use. */
  get current(): Weight {
    return this.#current
  }

  /** The model's own weight. */
  get own(): Weight {
    return this.#aside ?? this.#current
  }

  /** Replaces the model's own weight, and frees the old one. */
  replaceOwn(parameter: Parameter): void {
    this.own.dispose()
    if (this.#aside) this.#aside = weightOf(parameter)
    else this.#use(weightOf(parameter))
  }

  /** Makes forward passes use an adapter's parameter instead of the model's own weight; null restores it. */
  standIn(parameter: Parameter | null): void {
    const { own } = this
    this.#use(parameter ? this.#weightOf(parameter) : own)
    this.#aside = parameter ? own : null
  }

  #weightOf(parameter: Parameter): Weight {
    const weight = this.#standIns.get(parameter) ?? weightOf(parameter)
    this.#standIns.set(parameter, weight)
    return weight
  }

  #use(weight: Weight): void {
    this.#current = weight
    this.#put(weight)
  }
}

/** Returns the trained tensors among weights and in active adapters of layers. */
export function trainedTensors(slots: readonly WeightSlot[], linears: readonly Linear[]): Parameter[] {
  const weights = slots.flatMap(({ current }) => current.parameter ?? [])
  const adapters = linears.flatMap((linear) => linear.activeAdapters())
  return [...weights, ...adapters.flatMap(({ layer }) => layer.parameters)]
}
