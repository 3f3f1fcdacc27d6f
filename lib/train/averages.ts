import { native } from '../native/addon.js'
import { AdamW, type AdamWOptions, type AdamWStepOptions } from '../optim/adamw.js'
import type { Parameter } from '../tensor/parameter.js'
import { keep, scope } from '../tensor/scope.js'
import { type Float32Tensor, Tensor } from '../tensor/tensor.js'

/** Suffix of the names of averages in the optimizer's state. */
const SUFFIX = '.average'

/**
 * AdamW that also averages the values of each parameter over its steps: a ← d a + (1 − d) p, in float32, from the values before
 * the first step on. As in TensorFlow, d is at most (1 + t)/(10 + t) at step t, so that a short run does not average its start. Averages
 * are a part of the optimizer's state, so checkpoints have them. They belong to the parameters of the constructor.
 */
export class AveragingAdamW extends AdamW {
  readonly #averages: ReadonlyMap<Parameter, Float32Tensor>
  readonly #decay: number
  #steps = 0

  constructor(parameters: readonly Parameter[], options: AdamWOptions, decay: number) {
    super(parameters, options)
    this.#decay = decay
    this.#averages = new Map(
      parameters.map((parameter) => {
        const average = keep(Tensor.zeros(parameter.shape, { device: parameter.device }))
        average.copyFrom(parameter)
        return [parameter, average]
      }),
    )
  }

  override step(options: AdamWStepOptions): Tensor {
    const norm = super.step(options)
    this.#steps++
    const decay = Math.min(this.#decay, (1 + this.#steps) / (10 + this.#steps))
    for (const [parameter, average] of this.#averages) {
      scope(() => {
        const change = Tensor.empty(average.shape, average)
        change.copyFrom(parameter)
        native.add(average.native, change.native, -1)
        native.add(change.native, average.native, 1 - decay)
      })
    }
    return norm
  }

  /** Calls work while parameters have their averages as values. */
  async withAverages(work: () => Promise<void>): Promise<void> {
    const trained: [Parameter, Float32Array][] = []
    for (const [parameter, average] of this.#averages) {
      trained.push([parameter, await parameter.data()])
      parameter.assign(await average.data())
    }
    try {
      await work()
    } finally {
      for (const [parameter, values] of trained) parameter.assign(values)
    }
  }

  override state(): ReturnType<AdamW['state']> {
    const { updates, tensors } = super.state()
    const averages = [...this.#averages].map(([{ name }, tensor]) => ({ name: `${name}${SUFFIX}`, tensor }))
    return { updates, tensors: [...tensors, ...averages] }
  }

  override load(state: Parameters<AdamW['load']>[0]): void {
    super.load(state) // all tensors that `state` returns
    this.#steps = Math.max(0, ...Object.values(state.updates))
  }

  override dispose(): void {
    super.dispose()
    for (const average of this.#averages.values()) average.dispose()
  }
}
