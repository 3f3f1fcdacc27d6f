import { z } from 'zod'
import { aNumber, anObject, atLeast, check, expecting, optionsSchema } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { native } from '../native/addon.js'
import { Parameter } from '../tensor/parameter.js'
import { allOrNothing, keep, scope } from '../tensor/scope.js'
import { type Float32Tensor, Tensor } from '../tensor/tensor.js'

/** Schema of an argument that must be a list of parameters. */
export const someParameters = expecting(
  'a list of parameters',
  z.array(expecting('a parameter', z.instanceof(Parameter))),
)

/** Hyperparameters of AdamW. */
export interface AdamWOptions {
  /** Decay of the first moment, default 0.9. */
  beta1?: number
  /** Decay of the second moment, default 0.999. */
  beta2?: number
  /** Added to the root of the second moment, default 1e-8. */
  epsilon?: number
  /** Decoupled weight decay of the parameters that decay (`decays`), default 0. */
  weightDecay?: number
}

/** Options of an optimizer step. */
export interface AdamWStepOptions {
  /** Learning rate, multiplied by each parameter's `learningRateRatio`. */
  learningRate: number
  /** Gradients are multiplied by this first: 1 / (target tokens of the step). Default 1. */
  scaleGradients?: number
  /** Clip the scaled gradients' global norm to this; 0 (the default) turns clipping off. */
  maxGradNorm?: number
}

/** AdamW's state for one parameter. */
interface ParameterState {
  first: Float32Tensor
  second: Float32Tensor
  /** Number of updates in the moments. */
  updates: number
}

const adamWArguments = {
  options: optionsSchema('the options of AdamW', {
    beta1: atLeast(0).optional(),
    beta2: atLeast(0).optional(),
    epsilon: atLeast(0).optional(),
    weightDecay: atLeast(0).optional(),
  }),
}

const stepArguments = {
  options: optionsSchema('the options of step', {
    learningRate: atLeast(0),
    scaleGradients: aNumber.optional(),
    maxGradNorm: atLeast(0).optional(),
  }),
}

const loadArguments = {
  state: optionsSchema('the state of AdamW', {
    updates: anObject,
    tensors: expecting('a Map of values by name', z.instanceof(Map)),
  }),
}

/**
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101) over float32 parameters, with PyTorch's order of arithmetic. One
 * operation updates all tensors with equal `learningRateRatio`, `decays` and update count. Parameters without a gradient do
 * not change.
 *
 * ```ts
 * import { AdamW, loadModel, mora, packBatch } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await model.addAdapter('math', mora())
 * const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter), { weightDecay: 0.01 })
 * const { loss, targetTokens } = model.loss(packBatch([{ ids: [1, 2, 3], mask: [0, 1, 1], row: 0 }]))
 * await loss.backward()
 * const norm = optimizer.step({ learningRate: 3e-4, scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
 * console.log(await norm.item())
 * ```
 */
export class AdamW {
  readonly #options: Required<AdamWOptions>
  #states = new Map<Parameter, ParameterState>()

  constructor(parameters: readonly Parameter[], options: AdamWOptions = {}) {
    check({ options }, adamWArguments)
    this.#options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, ...options }
    this.setParameters(parameters)
  }

  /** The parameters that it updates. */
  get parameters(): readonly Parameter[] {
    return [...this.#states.keys()]
  }

  /**
   * Replaces the parameters. Remaining ones keep their moments and update counts, new ones start at zero, and the state
   * of removed ones is dropped.
   */
  setParameters(parameters: readonly Parameter[]): void {
    check({ parameters }, { parameters: someParameters })
    const before = this.#states
    const stateOf = (parameter: Parameter) => before.get(parameter) ?? freshState(parameter)
    this.#states = allOrNothing(() => new Map(parameters.map((parameter) => [parameter, stateOf(parameter)])))
    for (const [parameter, state] of before) if (!this.#states.has(parameter)) disposeState(state)
  }

  /**
   * Updates every parameter that has a gradient, and drops the gradients. Returns the global norm [1] of the scaled gradients
   * before clipping, on the device; if it is not finite, no parameter changes.
   */
  step(options: AdamWStepOptions): Tensor {
    check({ options }, stepArguments)
    const { learningRate, scaleGradients = 1, maxGradNorm = 0 } = options
    const trained = [...this.#states].filter(([{ grad }]) => grad !== null)
    if (trained.length === 0)
      throw new RunError('no-gradients', 'AdamW: no parameter has a gradient; call backward() before step().')
    return scope(() => this.#update(trained, learningRate, scaleGradients, maxGradNorm))
  }

  #update(
    trained: readonly [Parameter, ParameterState][],
    learningRate: number,
    scaleGradients: number,
    maxGradNorm: number,
  ): Tensor {
    const { device } = trained[0]![0]
    const scalar = () => Tensor.empty([1], { device })
    const [sum, scale, norm] = [scalar(), scalar(), scalar()]
    native.globalNorm(
      trained.map(([{ grad }]) => grad!.native),
      sum.native,
    )
    native.clipScale(sum.native, scaleGradients, maxGradNorm, scale.native)
    for (const [, state] of trained) state.updates++
    for (const together of inGroups(trained)) {
      const [{ learningRateRatio, decays }, { updates }] = together[0]!
      const weightDecay = decays ? this.#options.weightDecay : 0
      native.adamw({
        parameters: together.map(([parameter]) => parameter.native),
        gradients: together.map(([{ grad }]) => grad!.native),
        firstMoments: together.map(([, { first }]) => first.native),
        secondMoments: together.map(([, { second }]) => second.native),
        step: { ...this.#options, weightDecay, learningRate: learningRateRatio * learningRate, step: updates },
        scale: scale.native,
      })
    }
    native.copy(sum.native, norm.native, scaleGradients)
    for (const [parameter] of trained) parameter.version++
    this.zeroGrad()
    return norm
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const parameter of this.#states.keys()) parameter.zeroGrad()
  }

  /** Returns each parameter's moments and, by its name, the number of updates in them, for a checkpoint. */
  state(): {
    /** Number of updates in the moments, by the parameter's name. */
    updates: Record<string, number>
    /** Two tensors per parameter. */
    tensors: {
      /** The parameter's name, with `.first_moment` or `.second_moment`. */
      name: string
      /** The moment, float32, in the parameter's shape; the optimizer owns it. */
      tensor: Float32Tensor
    }[]
  } {
    const updates: Record<string, number> = {}
    const tensors: { name: string; tensor: Float32Tensor }[] = []
    for (const [{ name }, state] of this.#states) {
      updates[name] = state.updates
      tensors.push({ name: `${name}.first_moment`, tensor: state.first })
      tensors.push({ name: `${name}.second_moment`, tensor: state.second })
    }
    return { updates, tensors }
  }

  /**
   * Returns the names of the parameters whose moments are zero: their gradients have all been zero, or they had none.
   *
   * @internal
   */
  async withoutGradient(): Promise<string[]> {
    const norms = [...this.#states].map(([{ name, device }, { first, second }]) => {
      const norm = keep(Tensor.empty([1], { device }))
      native.globalNorm([first.native, second.native], norm.native)
      return { name, norm }
    })
    const found = norms.map(async ({ name, norm }) => {
      using own = norm
      return (await own.item()) === 0 ? [name] : []
    })
    return (await Promise.all(found)).flat()
  }

  /** Loads a saved state, by the names that `state` returned. If it throws, nothing has changed. */
  load(state: { updates: Readonly<Record<string, number>>; tensors: ReadonlyMap<string, Float32Array> }): void {
    check({ state }, loadArguments)
    const { updates, tensors } = state
    const own = this.state()
    for (const { name, tensor } of own.tensors) {
      const came = tensors.get(name)?.length
      if (came !== tensor.elements) throw unfit(`${tensor.elements} values for ${name}`, came)
    }
    for (const name of Object.keys(own.updates)) {
      if (!Number.isInteger(updates[name])) throw unfit(`a count of updates for ${name}`, updates[name])
    }
    for (const [{ name }, state] of this.#states) state.updates = updates[name]!
    for (const { name, tensor } of own.tensors) tensor.assign(tensors.get(name) as Float32Array)
  }

  /** Frees all moments; parameters stay. */
  dispose(): void {
    this.setParameters([])
  }
}

/**
 * Groups parameters that one operation can update: those with the same learning rate, decay and update count, on which the
 * bias correction depends.
 */
function inGroups(trained: readonly [Parameter, ParameterState][]): [Parameter, ParameterState][][] {
  const groups = new Map<string, [Parameter, ParameterState][]>()
  for (const entry of trained) {
    const [{ learningRateRatio, decays }, { updates }] = entry
    const key = `${learningRateRatio} ${decays} ${updates}`
    const group = groups.get(key)
    if (group) group.push(entry)
    else groups.set(key, [entry])
  }
  return [...groups.values()]
}

function freshState({ shape, device }: Parameter): ParameterState {
  const zeros = () => keep(Tensor.zeros(shape, { device }))
  return { first: zeros(), second: zeros(), updates: 0 }
}

function disposeState({ first, second }: ParameterState): void {
  first.dispose()
  second.dispose()
}

function unfit(expected: string, came: number | undefined): RunError {
  return new RunError('unfit-state', `AdamW: expected ${expected} but received ${came ?? 'none'}.`)
}
