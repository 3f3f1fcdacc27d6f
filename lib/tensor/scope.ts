import { aFunction, check } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import type { NativeTensor } from '../native/addon.js'
import type { Steps } from './steps.js'

/** The part of a tensor that scopes use; `Tensor` itself imports this file. */
export interface ScopedTensor {
  readonly native: NativeTensor
  /** Adds a reference: the memory stays until one more `release`. */
  retain(): this
  release(): void
  dispose(): void
}

/** A function that has computed everything when it returns: one that is `async`, or returns a promise, is a type error. */
export type SynchronousBody<R> = (() => R) &
  ([R] extends [never] ? unknown : R extends PromiseLike<unknown> ? 'not async: await outside' : unknown)

/** Calls the body of a public function. @throws UsageError `async-body` if it returns a promise */
export function resultOf<R>(what: string, body: () => R): R {
  const result = body()
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') return result
  Promise.resolve(result).catch(() => {}) // the error below says what is wrong
  throw new UsageError(
    'async-body',
    `Expected a synchronous body for ${what} but received one that returns a promise, whose rest would run outside of it: await values after it.`,
  )
}

/** Tensors of the innermost running scope, which frees them at its end. */
let current: Set<ScopedTensor> | null = null

/** Tensors made so far in the innermost running `allOrNothing`. */
let made: Set<ScopedTensor> | null = null

/** Registers a new tensor with the running scope. */
export function adopt(tensor: ScopedTensor): void {
  current?.add(tensor)
  made?.add(tensor)
}

/** Takes a tensor out of the running scope. Returns whether it belonged to it. */
export function forget(tensor: ScopedTensor): boolean {
  return current?.delete(tensor) ?? false
}

/** Takes a tensor out of the running scope and returns it: the caller frees it. */
export function keep<T extends ScopedTensor>(tensor: T): T {
  forget(tensor)
  return tensor
}

/**
 * Runs `body` and frees every tensor that was made in it, except tensors that it returns (alone, in an array, as the values of an
 * object, or in its `tensors`) and tensors that the tape saved. Scopes nest: returned tensors belong to the outer one. `body` must
 * be synchronous: read values outside.
 *
 * ```ts
 * import { mul, openDevice, scope, sum, Tensor } from 'node-mora'
 *
 * const device = openDevice({ device: 'cpu' })
 * const total = scope(() => {
 *   const x = Tensor.from([1, 2, 3], [3], { device })
 *   return sum(mul(x, x)) // x and the squares are freed here
 * })
 * console.log(await total.item()) // 14
 * total.dispose()
 * ```
 *
 * @throws UsageError `async-body` for a body that returns a promise
 */
export function scope<R>(body: SynchronousBody<R>): R {
  check({ body }, { body: aFunction })
  const own = new Set<ScopedTensor>()
  const run = () => resultOf('scope', body)
  return handedOver(within(own, run), own)
}

/** Like `scope` for work in steps: their tensors are freed after the last step, or when one throws. */
export function* scopeOverSteps<R>(steps: Steps<R>): Steps<R> {
  const own = new Set<ScopedTensor>()
  for (;;) {
    const { done, value } = within(own, () => steps.next())
    if (done) return handedOver(value, own)
    yield
  }
}

function within<R>(own: Set<ScopedTensor>, body: () => R): R {
  const outer = current
  current = own
  try {
    return body()
  } catch (error) {
    for (const tensor of own) tensor.release()
    throw error
  } finally {
    current = outer
  }
}

/** Moves the result's tensors to the running scope, and frees the others. */
function handedOver<R>(result: R, own: Set<ScopedTensor>): R {
  for (const tensor of tensorsIn(result)) {
    if (own.delete(tensor)) current?.add(tensor)
  }
  for (const tensor of own) tensor.release()
  return result
}

/**
 * Runs `body`, which makes an object of many tensors that outlive every scope, and frees all of them if it throws, since the
 * caller could not. `body` must be synchronous.
 */
export function allOrNothing<R>(body: () => R): R {
  const outer = made
  const own = new Set<ScopedTensor>()
  made = own
  try {
    const result = body()
    for (const tensor of own) outer?.add(tensor)
    return result
  } catch (error) {
    for (const tensor of own) tensor.dispose()
    throw error
  } finally {
    made = outer
  }
}

function tensorsIn(value: unknown): ScopedTensor[] {
  if (isTensor(value)) return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values('tensors' in value ? (value.tensors as object) : value).filter(isTensor)
}

function isTensor(value: unknown): value is ScopedTensor {
  return typeof value === 'object' && value !== null && 'retain' in value && 'native' in value
}
