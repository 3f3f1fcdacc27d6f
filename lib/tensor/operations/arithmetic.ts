/** Arithmetic by elements, with gradients. */
import { badValue } from '../../common/arguments.js'
import { type FloatDType, isFloatDType, native } from '../../native/addon.js'
import { writeByStoring, writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import { broadcast, dense, requireFloats, unfit } from './shaped.js'

/** A tensor, or a number that stands for each of its elements. */
export type Operand = Tensor | number

/**
 * a + b by elements, in their dtype. One of them may be a number or smaller: [1], or [C] or [N, 1] beside [N, C], repeats.
 * @throws UsageError `unfit-shape`
 */
export function add(a: Operand, b: Operand): Tensor {
  return together('add', a, b, (left, right) => sum(left, right, 1))
}

/** a - b by elements; as `add`. */
export function sub(a: Operand, b: Operand): Tensor {
  return together('sub', a, b, (left, right) => sum(left, right, -1))
}

/** a · b by elements; as `add`. */
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

/** a / b by elements; as `add`. */
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

/** x in another dtype, rounded to nearest even. */
export function cast(x: Tensor, dtype: FloatDType): Tensor {
  requireFloats('x', x)
  if (!isFloatDType(dtype)) throw badValue('dtype', 'one of float32, bfloat16, float16', dtype)
  if (x.dtype === dtype) return x
  const y = Tensor.empty(x.shape, { device: x.device, dtype })
  native.copy(x.native, y.native, 1)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, dY))
}

/** x², by elements. */
export function square(x: Tensor): Tensor {
  requireFloats('x', x)
  return mul(x, x)
}

/** e^x, by elements. */
export function exp(x: Tensor): Tensor {
  return evaluated('exp', x, 'multiply', 'result')
}

/** ln x, by elements: -Infinity of 0, NaN of what is less. */
export function log(x: Tensor): Tensor {
  return evaluated('log', x, 'divide', 'input')
}

/** √x, by elements. Its gradient at 0 is infinite. */
export function sqrt(x: Tensor): Tensor {
  return evaluated('sqrt', x, 'sqrtGradient', 'result')
}

/** tanh x, by elements. */
export function tanh(x: Tensor): Tensor {
  return evaluated('tanh', x, 'tanhGradient', 'result')
}

/** 1 / (1 + e^-x), by elements. */
export function sigmoid(x: Tensor): Tensor {
  return evaluated('sigmoid', x, 'sigmoidGradient', 'result')
}

/** max(x, 0), by elements. */
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

type Function1 = 'exp' | 'log' | 'sqrt' | 'tanh' | 'sigmoid'
type Function2 = 'multiply' | 'divide' | 'sqrtGradient' | 'tanhGradient' | 'sigmoidGradient'

/** f(x), whose gradient is `gradient` of dY and of f's input or result. */
function evaluated(f: Function1, x: Tensor, gradient: Function2, of: 'input' | 'result'): Tensor {
  requireFloats('x', x)
  return scope(() => {
    const input = dense(x)
    const y = Tensor.empty(input.shape, input)
    native.elementwise(f, input.native, null, y.native, false)
    // A view: a node that kept its own tensor would keep itself.
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

/** Runs `body` on both operands, dense and of one shape. */
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

/** Refuses all but tensors of floats and finite numbers, of which one may be a number. */
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
