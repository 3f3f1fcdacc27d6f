import { RunError } from '../errors.js'
import { native } from '../native.js'
import type { Parameter } from '../tensor/parameter.js'
import { keep } from '../tensor/scope.js'
import { assign, Tensor } from '../tensor/tensor.js'

export interface AdamWOptions {
  /** Decay of the first moment, default 0.9. */
  beta1?: number
  /** Decay of the second moment, default 0.999. */
  beta2?: number
  /** Added to the root of the second moment, default 1e-8. */
  epsilon?: number
  /** Decoupled weight decay, default 0. */
  weightDecay?: number
}

export interface AdamWStepOptions {
  learningRate: number
  /** Gradients are multiplied by this first: 1 / (target tokens of the step). Default 1. */
  scaleGradients?: number
  /** Clip the scaled gradients' global norm to this; 0 (default) is no clipping. */
  maxGradNorm?: number
}

/**
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101) over float32 parameters, with the arithmetic order of PyTorch's. One
 * step covers all tensors of one `learningRateRatio` in one operation. Parameters without a gradient are left alone.
 */
export class AdamW {
  readonly #parameters: readonly Parameter[]
  readonly #options: Required<AdamWOptions>
  readonly #moments = new Map<Parameter, { first: Tensor; second: Tensor }>()
  #step = 0

  constructor(parameters: readonly Parameter[], options: AdamWOptions = {}) {
    this.#parameters = parameters
    this.#options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, ...options }
    for (const parameter of parameters) {
      const zeros = () => keep(Tensor.zeros(parameter.shape, { device: parameter.device }))
      this.#moments.set(parameter, { first: zeros(), second: zeros() })
    }
  }

  /**
   * Updates every parameter that has a gradient and forgets the gradients. Returns the global norm [1] of the scaled
   * gradients before clipping, still on the device; when it is not finite nothing was changed.
   */
  step({ learningRate, scaleGradients = 1, maxGradNorm = 0 }: AdamWStepOptions): Tensor {
    const trained = this.#parameters.filter((parameter) => parameter.grad !== null)
    const [first] = trained
    if (!first) throw new RunError('no-gradients', 'AdamW: no parameter has a gradient; call backward() before step().')
    this.#step++
    const { device } = first
    const gradients = trained.map((parameter) => parameter.grad!.native)
    const scalar = () => Tensor.empty([1], { device })
    const [sum, scale, norm] = [scalar(), scalar(), scalar()]
    native.globalNorm(gradients, sum.native)
    native.clipScale(sum.native, scaleGradients, maxGradNorm, scale.native)
    for (const [ratio, group] of groupsOf(trained)) {
      native.adamw(
        group.map((parameter) => parameter.native),
        group.map((parameter) => parameter.grad!.native),
        group.map((parameter) => this.#moments.get(parameter)!.first.native),
        group.map((parameter) => this.#moments.get(parameter)!.second.native),
        { ...this.#options, learningRate: ratio * learningRate, step: this.#step },
        scale.native,
      )
    }
    native.copy(sum.native, norm.native, scaleGradients)
    sum.dispose()
    scale.dispose()
    for (const parameter of trained) parameter.version++
    this.zeroGrad()
    return norm
  }

  /** Forgets all gradients. */
  zeroGrad(): void {
    for (const parameter of this.#parameters) parameter.zeroGrad()
  }

  /** The step count and both moments of every parameter, for a checkpoint. */
  state(): { step: number; tensors: { name: string; tensor: Tensor }[] } {
    const tensors = this.#parameters.flatMap((parameter) => {
      const { first, second } = this.#moments.get(parameter)!
      return [
        { name: `${parameter.name}.first_moment`, tensor: first },
        { name: `${parameter.name}.second_moment`, tensor: second },
      ]
    })
    return { step: this.#step, tensors }
  }

  /** Continues from a saved state; tensors by the names that `state` gave. Throws before it changes anything. */
  load({ step, tensors }: { step: number; tensors: ReadonlyMap<string, Float32Array> }): void {
    const own = this.state().tensors
    for (const { name, tensor } of own) {
      const came = tensors.get(name)?.length
      if (came === tensor.elements) continue
      throw new RunError(
        'unfit-state',
        `AdamW: expected ${tensor.elements} values for ${name} but received ${came ?? 'none'}.`,
      )
    }
    this.#step = step
    for (const { name, tensor } of own) assign(tensor, tensors.get(name)!)
  }

  dispose(): void {
    for (const { first, second } of this.#moments.values()) {
      first.dispose()
      second.dispose()
    }
    this.#moments.clear()
  }
}

/** Parameters by what their learning rate is multiplied by. */
function groupsOf(parameters: readonly Parameter[]): Map<number, Parameter[]> {
  const groups = new Map<number, Parameter[]>()
  for (const parameter of parameters) {
    const group = groups.get(parameter.learningRateRatio)
    if (group) group.push(parameter)
    else groups.set(parameter.learningRateRatio, [parameter])
  }
  return groups
}
