/** Elementwise arithmetic with gradients. */
import { badValue } from '../../common/arguments.js'
import { type FloatDType, isFloatDType, native } from '../../native/addon.js'
import { writeByStoring, writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { noGrad, record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import { broadcast, dense, requireFloats, unfit } from './shaped.js'

/** A tensor, or a number that is broadcast. */
export type Operand = Tensor | number

/**
 * Returns a + b, elementwise, in their dtype. Either may be a number or a smaller tensor, which is broadcast: [1], or [C] or
 * [N, 1] with [N, C].
 * @throws UsageError `unfit-shape`
 */
export function add(a: Operand, b: Operand): Tensor {
  return together('add', a, b, (left, right) => sum(left, right, 1))
}

/** Returns a - b, elementwise, with broadcasting as in `add`. */
export function sub(a: Operand, b: Operand): Tensor {
  return together('sub', a, b, (left, right) => sum(left, right, -1))
}

/** Returns a · b, elementwise, with broadcasting as in `add`. */
export function mul(a: Operand, b: Operand): Tensor {
  requireOperands(a, b)
  if (typeof b === 'number') return multiple(a as Tensor, b)
  if (typeof a === 'number') return multiple(b, a)
  return together('mul', a, b, (left, right) => {
    const y = Tensor.empty(left.shape, left)
    native.elementwise('multiply', left.native, right.native, y.native, false)
    return record(y, [left, right], [left, right], (dY, [p, q], [dA, dB]) => {
      evaluateInto(dA!, 'multiply', dY, q!)
      evaluateInto(dB!, 'multiply', dY, p!)
    })
  })
}

/** Returns a / b, elementwise, with broadcasting as in `add`. */
export function div(a: Operand, b: Operand): Tensor {
  return together('div', a, b, (left, right) => {
    const y = Tensor.empty(left.shape, left)
    native.elementwise('divide', left.native, right.native, y.native, false)
    return record(y, [left, right], [right, y.view(y.shape)], (dY, [q, quotient], [dA, dB]) => {
      evaluateInto(dA!, 'divide', dY, q!)
      if (!dB!.needed) return
      const slope = Tensor.empty(dY.shape, dY)
      native.elementwise('multiply', dense(dY).native, quotient!.native, slope.native, false)
      native.elementwise('divide', slope.native, q!.native, slope.native, false)
      writeMultiple(dB!, -1, slope)
    })
  })
}

/** Returns x in another dtype, rounded to nearest even. */
export function cast(x: Tensor, dtype: FloatDType): Tensor {
  requireFloats('x', x)
  if (!isFloatDType(dtype)) throw badValue('dtype', 'one of float32, bfloat16, float16', dtype)
  if (x.dtype === dtype) return x
  const y = Tensor.empty(x.shape, { device: x.device, dtype })
  native.copy(x.native, y.native, 1)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, dY))
}

/** Returns x², elementwise. */
export function square(x: Tensor): Tensor {
  requireFloats('x', x)
  return mul(x, x)
}

/** Returns e^x, elementwise. */
export function exp(x: Tensor): Tensor {
  return evaluated('exp', x, 'multiply', 'result')
}

/** Returns ln x, elementwise: -Infinity for 0, NaN for negative values. */
export function log(x: Tensor): Tensor {
  return evaluated('log', x, 'divide', 'input')
}

/** Returns √x, elementwise. Its gradient at 0 is infinite. */
export function sqrt(x: Tensor): Tensor {
  return evaluated('sqrt', x, 'sqrtGradient', 'result')
}

/** Returns tanh x, elementwise. */
export function tanh(x: Tensor): Tensor {
  return evaluated('tanh', x, 'tanhGradient', 'result')
}

/** Returns 1 / (1 + e^-x), elementwise. */
export function sigmoid(x: Tensor): Tensor {
  return evaluated('sigmoid', x, 'sigmoidGradient', 'result')
}

/** Returns ln(1 + e^x), elementwise, without overflow; small values keep their precision. */
export function softplus(x: Tensor): Tensor {
  return evaluated('softplus', x, 'softplusGradient', 'input')
}

/** Returns ln(1 / (1 + e^-x)) = -softplus(-x), elementwise. */
export function logSigmoid(x: Tensor): Tensor {
  requireFloats('x', x)
  return scope(() => mul(softplus(mul(x, -1)), -1))
}

/** Returns max(x, 0), elementwise. */
export function relu(x: Tensor): Tensor {
  requireFloats('x', x)
  return scope(() => {
    const input = dense(x)
    const y = Tensor.empty(input.shape, input)
    const asRow = (tensor: Tensor) => tensor.view([1, tensor.elements]).native
    native.activation('relu', asRow(input), null, asRow(y))
    return record(y, [input], [input], (dY, [value], [dX]) => {
      writeByStoring(dX!, (target) =>
        native.activationBackward({ f: 'relu', dY: asRow(dense(dY)), gate: asRow(value!), dGate: asRow(target) }),
      )
    })
  })
}

/**
 * Returns x between two bounds, elementwise: min where x is less, max where it is more. -Infinity or Infinity is no bound.
 * Gradients flow where x is not changed.
 */
export function clamp(x: Tensor, min: number, max: number): Tensor {
  requireFloats('x', x)
  if (!(Number.isFinite(min) || min === Number.NEGATIVE_INFINITY)) throw badValue('min', 'a number or -Infinity', min)
  if (!(typeof max === 'number' && max >= min))
    throw badValue('max', `a number of at least min (${min}), or Infinity,`, max)
  return scope(() => {
    const input = dense(x)
    const { y, inside } = noGrad(() => {
      const beyond = (bound: number, side: 1 | -1) =>
        Number.isFinite(bound) ? isPositive(mul(sub(input, bound), side)) : filled(0, input)
      const [low, high] = [beyond(min, -1), beyond(max, 1)]
      const inside = sub(1, add(low, high))
      // An infinite element has no product with 0; times -1, the other side's relu makes it 0.
      const sign = sub(mul(inside, 2), 1)
      const kept = (part: Tensor) => relu(mul(relu(part), sign))
      const bounds = [[low, min] as const, [high, max] as const].filter(([, bound]) => Number.isFinite(bound))
      const replaced = bounds.map(([where, bound]) => mul(where, bound))
      return { y: [sub(kept(input), kept(mul(input, -1))), ...replaced].reduce(add), inside }
    })
    record(y, [input], [inside], (dY, [factor], [dX]) => evaluateInto(dX!, 'multiply', dY, factor!))
    return y
  })
}

/** Returns 1 where x is more than 0, and else 0: the slope of relu. */
function isPositive(x: Tensor): Tensor {
  const [ones, y] = [filled(1, x), Tensor.empty(x.shape, x)]
  const [dY, gate, dGate] = [ones, x, y].map((tensor) => tensor.view([1, tensor.elements]).native)
  native.activationBackward({ f: 'relu', dY: dY!, gate: gate!, dGate: dGate! })
  return y
}

type Function1 = 'exp' | 'log' | 'sqrt' | 'tanh' | 'sigmoid' | 'softplus'
type Function2 = 'multiply' | 'divide' | 'sqrtGradient' | 'tanhGradient' | 'sigmoidGradient' | 'softplusGradient'

/** Computes f(x), whose gradient is `gradient`(dY, input or result of f). */
function evaluated(f: Function1, x: Tensor, gradient: Function2, of: 'input' | 'result'): Tensor {
  requireFloats('x', x)
  return scope(() => {
    const input = dense(x)
    const y = Tensor.empty(input.shape, input)
    native.elementwise(f, input.native, null, y.native, false)
    // A view, because a node that saves its own output is never freed.
    const saved = of === 'input' ? input : y.view(y.shape)
    return record(y, [input], [saved], (dY, [value], [dX]) => evaluateInto(dX!, gradient, dY, value!))
  })
}

function evaluateInto(target: GradientTarget, f: Function2, dY: Tensor, value: Tensor): void {
  target.write((gradient, accumulate) => {
    native.elementwise(f, dense(dY).native, value.native, gradient.native, accumulate)
  })
}

/** x · factor */
function multiple(x: Tensor, factor: number): Tensor {
  const y = Tensor.empty(x.shape, x)
  native.copy(x.native, y.native, factor)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, factor, dY))
}

/** left + factor · right */
function sum(left: Tensor, right: Tensor, factor: 1 | -1): Tensor {
  const y = Tensor.empty(left.shape, left)
  native.copy(left.native, y.native, 1)
  native.add(right.native, y.native, factor)
  return record(y, [left, right], [], (dY, _, [dA, dB]) => {
    dA!.pass(dY)
    if (factor === 1) dB!.pass(dY)
    else writeMultiple(dB!, factor, dY)
  })
}

/** Runs `body` on both operands, made dense and broadcast to one shape. */
function together(name: string, a: Operand, b: Operand, body: (a: Tensor, b: Tensor) => Tensor): Tensor {
  requireOperands(a, b)
  return scope(() => {
    const left = a instanceof Tensor ? a : filled(a, b as Tensor)
    const right = b instanceof Tensor ? b : filled(b, a as Tensor)
    if (left.dtype !== right.dtype) throw unfit(`two tensors of one dtype for ${name} (cast converts)`, left, right)
    const larger = left.elements > right.elements || left.shape.length > right.shape.length ? left : right
    return body(dense(broadcast(left, larger.shape)), dense(broadcast(right, larger.shape)))
  })
}

/** Throws unless one operand is a tensor of floats and the other is one too or a finite number. */
function requireOperands(a: unknown, b: unknown): void {
  if (typeof a === 'number' && typeof b === 'number') requireFloats('a', a)
  for (const [name, operand] of Object.entries({ a, b })) {
    if (typeof operand !== 'number') requireFloats(name, operand)
    else if (!Number.isFinite(operand)) throw badValue(name, 'a finite number', operand)
  }
}

function filled(value: number, like: Tensor): Tensor {
  const tensor = Tensor.empty(like.shape, like)
  native.fill(tensor.native, value)
  return tensor
}
