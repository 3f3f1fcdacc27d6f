import { anObject, aText, check, having, listOfTexts, optionsSchema, positive, wholeFrom } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import type { LayerAdapter } from '../nn/layer-adapter.js'
import { LinearInput } from '../nn/linear-input.js'
import { openDevice } from '../tensor/device.js'
import { mul } from '../tensor/operations/arithmetic.js'
import { updateLinear } from '../tensor/operations/linear.js'
import { sum } from '../tensor/operations/reductions.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { weightOf } from '../tensor/weight.js'
import type { AdapterConfigBase, AdapterMethod, OptionFields } from './contract/adapter.js'
import { checkedMethod } from './contract/checked-method.js'
import { LayerMaker } from './tensors/layer-maker.js'

/** Options of `gradientCheck`. */
export interface GradientCheckOptions<Config extends AdapterConfigBase = AdapterConfigBase> {
  /** Options of the method's configuration; the default rank is 4. */
  config?: Partial<Omit<Config, 'method'>>
  /** Inputs of the linear layer, default 12. */
  inFeatures?: number
  /** Outputs of the linear layer, default 8. */
  outFeatures?: number
  /** Number of tokens, default 5. */
  rows?: number
  /** Seed of all values, default 0. */
  seed?: number
  /** Tensors that are not compared: by design, as in DoRA, whose gradients take its norms for constants. */
  except?: readonly string[]
  /** Standard deviation of the numbers that are added to the initial values, so that none is zero. Default 0.15. */
  deviation?: number
  /** Allowed difference of a gradient, as a share of the tensor's largest. Default 0.002. */
  tolerance?: number
  /** As in `loadModel`; default `cpu`. */
  device?: string
}

/** The error of the gradients of a tensor, against differences of the result. */
export interface CheckedGradient {
  /** The tensor, as the method declares it, or `x`: the layer's input. */
  tensor: string
  /** The computation of the layer: beside the product with the weight, or as a change of the weight. */
  form: 'forward' | 'weightUpdate'
  /** The largest difference, as a share of the largest gradient. */
  error: number
}

const gradientCheckArguments = {
  method: having('a method of adapters', 'name', 'options', 'config', 'tensors', 'layer', 'peft'),
  options: optionsSchema('the options of gradientCheck', {
    config: anObject.optional(),
    inFeatures: wholeFrom(1).optional(),
    outFeatures: wholeFrom(1).optional(),
    rows: wholeFrom(1).optional(),
    seed: wholeFrom(0).optional(),
    except: listOfTexts.optional(),
    deviation: positive.optional(),
    tolerance: positive.optional(),
    device: aText.optional(),
  }),
}

/** The factor of the adapter's contribution. */
const SCALE = 0.7
/** Elements of a tensor that are compared at most. */
const MOST_COMPARED = 24

/**
 * Compares the gradients of a method of adapters with finite differences of its results, whose sums are float64: of every trained
 * tensor and of the layer's input, through the layer's `forward` and its `weightUpdate` (a `DeltaLayer`'s `delta`). Returns the
 * errors of all: `await gradientCheck(loraXsMethod)` for the method in examples/adapters/lora-xs.ts.
 *
 * @throws RunError `wrong-gradient` that names the first tensor whose gradient is wrong or missing
 */
export async function gradientCheck<Config extends AdapterConfigBase, Fields extends OptionFields>(
  method: AdapterMethod<Config, Fields>,
  options: GradientCheckOptions<Config> = {},
): Promise<CheckedGradient[]> {
  check({ method, options }, gradientCheckArguments)
  const { inFeatures = 12, outFeatures = 8, rows = 5, seed = 0, deviation = 0.15, tolerance = 0.002 } = options
  const device = openDevice({ device: options.device ?? 'cpu' })
  const facts = { name: 'layer', inFeatures, outFeatures }
  const random = randomStream(seed, 'gradientCheck', method.name)
  const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  const made: Disposable[] = []
  const tensor = (...shape: [number, number]) => {
    const values = Tensor.from(normal(shape[0] * shape[1]), shape, { device })
    made.push(values)
    return values
  }
  try {
    const weight = weightOf(tensor(outFeatures, inFeatures))
    const counts = tensor(rows, outFeatures)
    const x = new Parameter('x', tensor(rows, inFeatures))
    made.push(x)
    const checked = checkedMethod(method as unknown as AdapterMethod)
    const config = checked.config({ rank: 4, ...options.config })
    const layer = await new LayerMaker(checked, config, [facts]).create(
      { layer: facts, device, adapter: 'gradientCheck' },
      seed,
      weight,
    )
    made.push({ [Symbol.dispose]: () => layer.dispose() })
    for (const parameter of layer.parameters) {
      const drawn = normal(parameter.elements)
      const values = (await parameter.data()) as Float32Array
      parameter.assign(values.map((value, i) => value + deviation * drawn[i]!))
    }
    const forms = formsOf(layer, x, weight)
    const results: CheckedGradient[] = []
    for (const [form, output] of forms) {
      const lossOf = () => scope(() => sum(mul(output(), counts)))
      const resultOf = async () => {
        using y = noGrad(() => scope(output))
        return dot((await y.data()) as Float32Array, (await counts.data()) as Float32Array)
      }
      const tensors = [x, ...layer.parameters]
      for (const parameter of tensors) parameter.zeroGrad()
      {
        using loss = lossOf()
        if (loss.requiresGrad) await loss.backward()
      }
      for (const parameter of tensors) {
        const name = parameter === x ? 'x' : parameter.name.slice(`${facts.name}.`.length)
        if (options.except?.includes(name)) continue
        const found = await compare(parameter, resultOf)
        if (found.error > tolerance) throw wrong(method.name, name, form, parameter, found)
        results.push({ tensor: name, form, error: found.error })
      }
    }
    return results
  } finally {
    for (const one of made.reverse()) one[Symbol.dispose]()
  }
}

/** Returns the ways to compute the layer's part of the output. */
function formsOf(
  layer: LayerAdapter,
  x: Parameter,
  weight: ReturnType<typeof weightOf>,
): [CheckedGradient['form'], () => Tensor][] {
  const into = () => ({
    target: Tensor.empty([x.shape[0]!, weight.shape[0]!], { device: x.device }),
    accumulate: false,
  })
  const forward = () => layer.forward(new LinearInput(x), SCALE, into(), weight)
  const asUpdate = () => updateLinear(x, weight, layer.weightUpdate(SCALE)!, into())
  return layer.weightUpdate(SCALE) === null
    ? [['forward', forward]]
    : [
        ['forward', forward],
        ['weightUpdate', asUpdate],
      ]
}

interface Comparison {
  /** As a share of the largest gradient. */
  readonly error: number
  /** The element with the largest error. */
  readonly at: number
  /** Gradient; null if no gradient reaches the tensor. */
  readonly gradient: number | null
  readonly difference: number
}

/** Compares a tensor's gradient with differences of the loss. */
async function compare(parameter: Parameter, lossOf: () => Promise<number>): Promise<Comparison> {
  const gradients = (await parameter.grad?.data()) as Float32Array | undefined
  const values = (await parameter.data()) as Float32Array
  const stride = Math.max(1, Math.ceil(values.length / MOST_COMPARED) | 1)
  let largest = gradients?.reduce((most, value) => Math.max(most, Math.abs(value)), 0) ?? 0
  const all: { at: number; gradient: number; difference: number }[] = []
  for (let at = 0; at < values.length; at += stride) {
    const difference = await differenceOf(parameter, values, at, lossOf)
    largest = Math.max(largest, Math.abs(difference))
    all.push({ at, gradient: gradients?.[at] ?? 0, difference })
  }
  const errorOf = ({ gradient, difference }: (typeof all)[number]) => Math.abs(gradient - difference)
  const worst = all.reduce((most, comparison) => (errorOf(comparison) > errorOf(most) ? comparison : most))
  // Differences of float32 results are good to about 1e-5.
  const error = errorOf(worst) / Math.max(largest, 1e-2)
  return { ...worst, gradient: gradients ? worst.gradient : null, error: Number.isNaN(error) ? Infinity : error }
}

/** Returns d loss / d parameter[at] by differences over two distances, extrapolated to a distance of 0 (Richardson). */
async function differenceOf(
  parameter: Parameter,
  values: Float32Array,
  at: number,
  lossOf: () => Promise<number>,
): Promise<number> {
  const slope = async (distance: number): Promise<number> => {
    const sides: number[] = []
    for (const side of [1, -1]) {
      const moved = values.slice()
      moved[at]! += side * distance
      parameter.assign(moved)
      sides.push(await lossOf())
    }
    return (sides[0]! - sides[1]!) / (2 * distance)
  }
  const [far, near] = [await slope(2 ** -4), await slope(2 ** -5)]
  parameter.assign(values)
  return (4 * near - far) / 3
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0)
}

function wrong(
  method: string,
  tensor: string,
  form: CheckedGradient['form'],
  { shape }: Parameter,
  { at, gradient, difference }: Comparison,
): RunError {
  const place: number[] = []
  let rest = at
  for (const size of shape.toReversed()) {
    place.unshift(rest % size)
    rest = Math.floor(rest / size)
  }
  const what = tensor === 'x' ? 'its input x' : tensor
  const says = `differences of the result say ${difference.toPrecision(4)} for its element [${place.join(', ')}]`
  return new RunError(
    'wrong-gradient',
    gradient === null
      ? `The method ${method} gives no gradient of ${what} in ${form}, but ${says}.`
      : `The method ${method} gives a wrong gradient of ${what} in ${form}: ${gradient.toPrecision(4)}, but ${says}.`,
  )
}
