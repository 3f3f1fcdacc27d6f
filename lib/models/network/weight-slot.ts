import type { Linear } from '../../nn/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'

/** One weight of a model: where forward passes find it, under its name in Hugging Face's checkpoints. */
export class WeightSlot {
  readonly #get: () => Tensor
  readonly #set: (weight: Tensor) => void
  /** The model's own weight while another stands in for it. */
  #aside: Tensor | null = null

  private constructor(
    readonly name: string,
    /** The linear layer that it is a weight or bias of. */
    readonly linear: Linear | null,
    get: () => Tensor,
    set: (weight: Tensor) => void,
  ) {
    this.#get = get
    this.#set = set
  }

  /** The slot of `owner[key]`. */
  static of<K extends string>(
    name: string,
    owner: { [key in K]: Tensor | null },
    key: K,
    linear: Linear | null = null,
  ): WeightSlot {
    return new WeightSlot(
      name,
      linear,
      () => owner[key]!,
      (weight) => {
        owner[key] = weight
      },
    )
  }

  static ofLinear(linear: Linear): WeightSlot[] {
    const weight = WeightSlot.of(`${linear.name}.weight`, linear, 'weight', linear)
    return linear.bias ? [weight, WeightSlot.of(`${linear.name}.bias`, linear, 'bias', linear)] : [weight]
  }

  /** What forward passes use. */
  get current(): Tensor {
    return this.#get()
  }

  /** The model's own weight. */
  get own(): Tensor {
    return this.#aside ?? this.current
  }

  /** Gives the model another weight of its own, and frees the one before. */
  replaceOwn(weight: Tensor): void {
    this.own.dispose()
    if (this.#aside) this.#aside = weight
    else this.#set(weight)
  }

  /** Lets forward passes use an adapter's parameter instead of the model's own weight; null ends that. */
  standIn(parameter: Parameter | null): void {
    const { own } = this
    this.#set(parameter ?? own)
    this.#aside = parameter ? own : null
  }
}
