/**
 * Checks gradients of differentiable operations: float32 against central differences of the operation itself, the
 * 16-bit dtypes against float32. Each case also runs twice on the same inputs, so that gradients are added up, and must leave no memory.
 */
import { expect } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { native } from '../../lib/native/addon.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { scope } from '../../lib/tensor/scope.js'
import { noGrad, record } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { type ActivationDType, testDevice } from './harness.js'
import { recordedCopy } from './recorded-copy.js'

export interface GradientInput {
  readonly shape: readonly number[]
  /** An activation has the dtype of the run and may be overwritten; a parameter is the float32 leaf itself. */
  readonly kind: 'activation' | 'parameter'
  /** Default: standard normal numbers. */
  readonly values?: ((normal: number, index: number) => number) | undefined
}

export interface GradientCase<
  I extends Readonly<Record<string, GradientInput>> = Readonly<Record<string, GradientInput>>,
> {
  readonly name: string
  readonly inputs: I
  /** The operation; `constant` makes tensors of standard normal numbers without a gradient. */
  forward(
    inputs: { readonly [name in keyof I]: I[name]['kind'] extends 'parameter' ? Parameter : Tensor },
    constant: (shape: readonly number[], dtype?: ActivationDType) => Tensor,
  ): Tensor
}

export function gradientCase<const I extends Readonly<Record<string, GradientInput>>>(
  description: GradientCase<I>,
): GradientCase {
  return description as unknown as GradientCase
}

/** Σ over the results of weights · y: a scalar in which every element of y has a different weight. */
function weightedSum(results: readonly Tensor[], weights: Float32Array): Tensor {
  const total = Tensor.zeros([1], { device: testDevice() })
  const factors = results.map((y) => Tensor.from(weights, y.shape, { device: y.device, dtype: y.dtype }))
  for (const [i, y] of results.entries()) {
    const row = y.view([1, y.elements])
    const column = factors[i]!.view([y.elements, 1])
    native.matmul({ a: row.native, b: column.native, c: total.view([1, 1]).native, accumulate: true })
  }
  return record(total, results, factors, (_, saved, targets) => {
    for (const [i, target] of targets.entries()) target.pass(saved[i]!)
  })
}

interface Prepared {
  readonly parameters: Readonly<Record<string, Parameter>>
  run(dtype: ActivationDType, times: number): Tensor[]
  readonly weights: Float32Array
}

function prepare(test: GradientCase): Prepared {
  const random = randomStream(2, 'test', test.name)
  const parameters = Object.fromEntries(
    Object.entries(test.inputs).map(([name, { shape, values }]) => {
      const length = shape.reduce((product, size) => product * size, 1)
      const start = Float32Array.from({ length }, (_, i) => (values ?? ((normal) => normal))(random.normal(), i))
      return [name, new Parameter(name, Tensor.from(start, shape, { device: testDevice() }))]
    }),
  )
  const run = (dtype: ActivationDType, times: number): Tensor[] => {
    const inputs = Object.entries(parameters).map(([name, parameter]) => {
      if (test.inputs[name]!.kind === 'parameter') return [name, parameter] as const
      const target = Tensor.empty(parameter.shape, { device: testDevice(), dtype })
      return [name, recordedCopy(parameter, target)] as const
    })
    return Array.from({ length: times }, () => {
      const constants = randomStream(3, 'test', test.name)
      return test.forward(Object.fromEntries(inputs) as never, (shape, of = dtype) => {
        const length = shape.reduce((product, size) => product * size, 1)
        const values = Float32Array.from({ length }, () => constants.normal())
        return Tensor.from(values, shape, { device: testDevice(), dtype: of })
      })
    })
  }
  const { elements } = noGrad(() => scope(() => ({ elements: run('float32', 1)[0]!.elements })))
  return { parameters, run, weights: Float32Array.from({ length: elements }, () => random.normal()) }
}

type Gradients = Record<string, Float32Array>

async function gradients(
  { parameters, run, weights }: Prepared,
  dtype: ActivationDType,
  times: number,
): Promise<Gradients> {
  const loss = scope(() => weightedSum(run(dtype, times), weights))
  await loss.backward()
  loss.dispose()
  const result: Gradients = {}
  for (const [name, parameter] of Object.entries(parameters)) {
    expect(parameter.grad, `${name} has a gradient`).not.toBeNull()
    expect(parameter.grad!.dtype).toBe('float32')
    result[name] = await parameter.grad!.data()
    parameter.zeroGrad()
  }
  return result
}

/** The loss in float64 from float32 results. */
async function lossOf({ run, weights }: Prepared): Promise<number> {
  const y = noGrad(() => scope(() => run('float32', 1)[0]!))
  const values = await y.data()
  y.dispose()
  return weights.reduce((sum, weight, i) => sum + weight * Number(values[i]), 0)
}

/** d loss / d parameter[at] by differences over two distances, extrapolated to a distance of 0 (Richardson). */
async function difference(prepared: Prepared, parameter: Parameter, values: Float32Array, at: number): Promise<number> {
  const slope = async (distance: number): Promise<number> => {
    const sides: number[] = []
    for (const side of [1, -1]) {
      const moved = values.slice()
      moved[at]! += side * distance
      parameter.assign(moved)
      sides.push(await lossOf(prepared))
    }
    return (sides[0]! - sides[1]!) / (2 * distance)
  }
  const [far, near] = [await slope(2 ** -4), await slope(2 ** -5)]
  parameter.assign(values)
  return (4 * near - far) / 3
}

const mostChecked = 24
/** A share of the largest gradient: differences of float32 results over distances of 1/16 are good to about 1e-5. */
const differenceTolerance = 1e-3
/** A share of the largest gradient: a few roundings to 8 or 11 bits on the way. */
const roundedTolerance = { bfloat16: 2 ** -5, float16: 2 ** -8 } as const

export async function checkGradients(test: GradientCase): Promise<void> {
  const before = liveBytes(testDevice())
  const prepared = prepare(test)
  const exact = await gradients(prepared, 'float32', 1)
  for (const [name, parameter] of Object.entries(prepared.parameters)) {
    const values = await parameter.data()
    const largest = Math.max(...exact[name]!.map(Math.abs), 1e-3)
    const stride = Math.max(1, Math.ceil(values.length / mostChecked) | 1)
    for (let at = 0; at < values.length; at += stride) {
      const wanted = await difference(prepared, parameter, values, at)
      const error = Math.abs(exact[name]![at]! - wanted)
      expect(error, `${name}[${at}]: gradient ${exact[name]![at]}, difference ${wanted}`).toBeLessThan(
        differenceTolerance * largest,
      )
    }
  }
  const doubled = await gradients(prepared, 'float32', 2)
  const rounded = {
    bfloat16: await gradients(prepared, 'bfloat16', 1),
    float16: await gradients(prepared, 'float16', 1),
  }
  for (const [name, single] of Object.entries(exact)) {
    const largest = Math.max(...single.map(Math.abs), 1e-3)
    for (const [i, value] of single.entries()) {
      expect(Math.abs(doubled[name]![i]! - 2 * value), `${name}[${i}] of two uses`).toBeLessThan(1e-5 * largest)
      for (const dtype of ['bfloat16', 'float16'] as const) {
        expect(Math.abs(rounded[dtype][name]![i]! - value), `${name}[${i}] in ${dtype}`).toBeLessThan(
          roundedTolerance[dtype] * largest,
        )
      }
    }
  }
  for (const parameter of Object.values(prepared.parameters)) parameter.dispose()
  await testDevice().synchronize()
  expect(liveBytes(testDevice()), 'bytes in use after the case').toBe(before)
}
