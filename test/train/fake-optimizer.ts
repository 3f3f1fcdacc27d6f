/** Parameters and AdamW in JavaScript, as the contracts of lib/train/trainable.ts describe them. */
import { RunError } from '../../lib/common/errors.js'
import type { WritableValues } from '../../lib/tensor/ranks.js'
import type { HeldValues, Optimizer, TrainedParameter } from '../../lib/train/trainable.js'

class FakeGradient implements HeldValues, WritableValues {
  constructor(
    readonly shape: readonly number[],
    private readonly values: Float32Array,
  ) {}

  data = () => Promise.resolve(this.values.slice())
  assign = (values: Float32Array) => this.values.set(values)
  retain = () => {}
  release = () => {}
}

export class FakeParameter implements TrainedParameter {
  values: Float32Array
  gradient: Float32Array | null = null

  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    values: Float32Array,
  ) {
    this.values = values
  }

  data(): Promise<Float32Array> {
    return Promise.resolve(this.values.slice())
  }

  dataAtOnce(): Float32Array {
    return this.values.slice()
  }

  assign(values: Float32Array): void {
    this.values = values.slice()
  }

  addGradient(gradient: Float32Array): void {
    const sum = gradient.slice()
    const before = this.gradient
    if (before) for (let i = 0; i < sum.length; i++) sum[i]! += before[i]!
    this.gradient = sum
  }

  get grad(): FakeGradient | null {
    return this.gradient && new FakeGradient(this.shape, this.gradient)
  }

  ensureGrad(): FakeGradient {
    this.gradient ??= new Float32Array(this.values.length)
    return this.grad!
  }

  zeroGrad(): void {
    this.gradient = null
  }
}

interface Moments {
  first: Float32Array
  second: Float32Array
  updates: number
}

/** In float32. */
export class FakeAdamW implements Optimizer {
  #moments = new Map<FakeParameter, Moments>()

  constructor(
    parameters: readonly FakeParameter[],
    readonly options: { beta1: number; beta2: number; epsilon: number; weightDecay: number },
  ) {
    this.setParameters(parameters)
  }

  setParameters(parameters: readonly TrainedParameter[]): void {
    const before = this.#moments
    const zeros = ({ values }: FakeParameter) => new Float32Array(values.length)
    const fresh = (one: FakeParameter) => ({ first: zeros(one), second: zeros(one), updates: 0 })
    this.#moments = new Map((parameters as FakeParameter[]).map((one) => [one, before.get(one) ?? fresh(one)]))
  }

  step({ learningRate, scaleGradients, maxGradNorm }: Parameters<Optimizer['step']>[0]) {
    let squares = 0
    for (const { gradient } of this.#moments.keys()) for (const value of gradient ?? []) squares += value * value
    const norm = Math.sqrt(squares) * scaleGradients
    const scale = scaleGradients * (maxGradNorm > 0 ? Math.min(1, maxGradNorm / (norm + 1e-6)) : 1)
    if (Number.isFinite(norm)) this.#update(learningRate, scale)
    for (const parameter of this.#moments.keys()) parameter.zeroGrad()
    return { item: () => Promise.resolve(norm), dispose: () => {} }
  }

  #update(learningRate: number, scale: number): void {
    const { beta1, beta2, epsilon, weightDecay } = this.options
    for (const [{ values, gradient }, moments] of this.#moments) {
      const { first, second } = moments
      const step = ++moments.updates
      for (let i = 0; i < values.length; i++) {
        const g = gradient![i]! * scale
        first[i] = beta1 * first[i]! + (1 - beta1) * g
        second[i] = beta2 * second[i]! + (1 - beta2) * g * g
        const mean = first[i]! / (1 - beta1 ** step)
        const spread = Math.sqrt(second[i]! / (1 - beta2 ** step)) + epsilon
        values[i] = values[i]! * (1 - learningRate * weightDecay) - (learningRate * mean) / spread
      }
    }
  }

  async withoutGradient(): Promise<string[]> {
    const isZero = (values: Float32Array) => values.every((value) => value === 0)
    return [...this.#moments].flatMap(([{ name }, { first, second }]) =>
      isZero(first) && isZero(second) ? [name] : [],
    )
  }

  state() {
    const updates = Object.fromEntries([...this.#moments].map(([{ name }, { updates: count }]) => [name, count]))
    const tensors = [...this.#moments].flatMap(([{ name, shape }, { first, second }]) => {
      const stored = (values: Float32Array) => ({
        shape,
        data: () => Promise.resolve(values),
        dataAtOnce: () => values.slice(),
      })
      return [
        { name: `${name}.first_moment`, tensor: stored(first) },
        { name: `${name}.second_moment`, tensor: stored(second) },
      ]
    })
    return { updates, tensors }
  }

  load({
    updates,
    tensors,
  }: {
    updates: Readonly<Record<string, number>>
    tensors: ReadonlyMap<string, Float32Array>
  }) {
    for (const [{ name }, moments] of this.#moments) {
      const [first, second] = [tensors.get(`${name}.first_moment`), tensors.get(`${name}.second_moment`)]
      const fit = [first, second].every((values) => values?.length === moments.first.length)
      if (!fit || updates[name] === undefined) throw new RunError('unfit-state', `The moments of ${name} do not fit.`)
      moments.updates = updates[name]
      moments.first.set(first!)
      moments.second.set(second!)
    }
  }

  dispose(): void {}
}
