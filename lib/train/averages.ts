import { RunError } from '../common/errors.js'
import { native } from '../native/addon.js'
import type { Parameter } from '../tensor/parameter.js'
import { keep, scope } from '../tensor/scope.js'
import { type Float32Tensor, Tensor } from '../tensor/tensor.js'
import type { Optimizer, OptimizerState } from './trainable.js'

/** What the names of averages in the optimizer's state end with. */
const SUFFIX = '.average'

/**
 * An optimizer that also averages the values of each parameter over its steps: a ← d a + (1 − d) p, in float32, from the values before
 * the first step on. As in TensorFlow, d is at most (1 + t)/(10 + t) at step t, so that a short run does not average its start. Averages
 * are a part of the optimizer's state, so checkpoints have them.
 */
export class AveragingOptimizer implements Optimizer {
  readonly #inner: Optimizer
  readonly #averages: ReadonlyMap<Parameter, Float32Tensor>
  readonly #decay: number
  #steps = 0

  constructor(inner: Optimizer, parameters: readonly Parameter[], decay: number) {
    this.#inner = inner
    this.#decay = decay
    this.#averages = new Map(
      parameters.map((parameter) => {
        const average = keep(Tensor.zeros(parameter.shape, { device: parameter.device }))
        average.copyFrom(parameter)
        return [parameter, average]
      }),
    )
  }

  step(options: Parameters<Optimizer['step']>[0]): ReturnType<Optimizer['step']> {
    const norm = this.#inner.step(options)
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

  state(): OptimizerState {
    const { updates, tensors } = this.#inner.state()
    const averages = [...this.#averages].map(([{ name }, tensor]) => ({ name: `${name}${SUFFIX}`, tensor }))
    return { updates, tensors: [...tensors, ...averages] }
  }

  withoutGradient(): Promise<string[]> {
    return this.#inner.withoutGradient()
  }

  load(state: Parameters<Optimizer['load']>[0]): void {
    for (const [{ name }, average] of this.#averages) {
      const values = state.tensors.get(`${name}${SUFFIX}`)
      if (values?.length !== average.elements) {
        throw new RunError(
          'unfit-state',
          `Expected ${average.elements} values for ${name}${SUFFIX} but received ${values?.length ?? 'none'}.`,
        )
      }
      average.assign(values)
    }
    this.#inner.load(state)
    this.#steps = Math.max(0, ...Object.values(state.updates))
  }

  setParameters(): never {
    throw new TypeError('Averages are of the parameters that a run began with.')
  }

  dispose(): void {
    this.#inner.dispose()
    for (const average of this.#averages.values()) average.dispose()
  }
}
