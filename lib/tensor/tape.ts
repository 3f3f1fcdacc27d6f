/**
 * The tape: one node for each operation whose result depends on a parameter. A node knows its inputs, what it saved and
 * how to turn the gradient of its output into gradients of its inputs. Nodes are reference-counted: dropping a result frees
 * what was saved for it.
 */
import { aFunction, check } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import type { DType, NativeDevice } from '../native/addon.js'
import { keep, resultOf, type ScopedTensor, type SynchronousBody } from './scope.js'

/** The part of a tensor `T` that the tape uses; `Tensor` itself imports this file. */
export interface Taped<T extends Taped<T>> extends ScopedTensor {
  readonly device: NativeDevice
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly requiresGrad: boolean
  node: TapeNode<T> | null
  recipe: Recipe<T> | null
}

let nodesMade = 0
/** Gradients that are known to be 1: of a root with respect to itself. */
const ones = new WeakSet<object>()
let recording = true

/**
 * Runs `body` without recording: nothing is saved, and results require no gradient. `body` must be synchronous: read values
 * outside.
 *
 * @throws UsageError `async-body` for a body that returns a promise
 */
export function noGrad<R>(body: SynchronousBody<R>): R {
  check({ body }, { body: aFunction })
  return withRecording(false, () => resultOf('noGrad', body))
}

export function withRecording<R>(on: boolean, body: () => R): R {
  const before = recording
  recording = on
  try {
    return body()
  } finally {
    recording = before
  }
}

export function isRecording(): boolean {
  return recording
}

/** Marks a gradient as 1, with which a backward pass starts: products with it are skipped. */
export function markAsOne(gradient: object): void {
  ones.add(gradient)
}

export function isOne(gradient: object): boolean {
  return ones.has(gradient)
}

/** Where the gradient of one input goes. */
export interface TapeTarget<T> {
  /** False if no gradient is needed: skip the arithmetic. */
  readonly needed: boolean
  /**
   * Calls `write(target, accumulate)`, which must store the gradient in `target` (the input's shape; its dtype, or float32
   * for a parameter), or add to it if `accumulate`.
   */
  write(write: (target: T, accumulate: boolean) => void): void
  /** Passes on a gradient that exists already, such as the output's or a view of it, without a copy. */
  pass(gradient: T): void
}

type Backward<T> = (gradient: T, saved: readonly T[], targets: readonly TapeTarget<T>[]) => void

export class TapeNode<T extends Taped<T>> {
  /** Later nodes have larger numbers, which gives the order of the backward pass. */
  readonly order = nodesMade++
  /** Gradient of the output, while the backward pass runs. */
  gradient: T | null = null
  /** True if `gradient` belongs to another node too and must not be written to. */
  borrowed = false
  #references = 1
  /** Null after `forgetSaved`. */
  #saved: Saved<T>[] | null

  constructor(
    readonly inputs: readonly (TapeNode<T> | null)[],
    saved: readonly T[],
    readonly backward: Backward<T> | null,
    /** The tensor whose shape and dtype the output's gradient has. */
    readonly like: Pick<T, 'shape' | 'dtype' | 'device'>,
    /** A parameter, which receives its gradient. */
    readonly leaf: { grad: T | null } | null = null,
    /** Returns the place of the output's gradient in that of the only input, which is made of such places; null: it has its own. */
    readonly place: ((gradient: T) => T) | null = null,
  ) {
    for (const input of inputs) input?.retain()
    this.#saved = saved.map((tensor) => new Saved(tensor))
  }

  retain(): this {
    this.#references++
    return this
  }

  release(): void {
    if (--this.#references > 0) return
    this.forgetSaved()
    this.gradient?.release() // left by a backward pass that failed
    this.gradient = null
    for (const input of this.inputs) input?.release()
  }

  /** @throws UsageError `no-gradients` after `forgetSaved` */
  saved(): T[] {
    if (this.#saved) return this.#saved.map((entry) => entry.get())
    throw new UsageError(
      'no-gradients',
      'A backward pass has been here already and freed what was saved for it: add losses up before one backward, or compute them again.',
    )
  }

  /** Frees what was saved; the node cannot run backwards again. */
  forgetSaved(): void {
    for (const entry of this.#saved ?? []) entry.release()
    this.#saved = null
  }
}

/** A tensor kept for the backward pass, or the recipe to compute it again. */
class Saved<T extends Taped<T>> {
  readonly #tensor: T | null
  readonly #recipe: Recipe<T> | null

  constructor(tensor: T) {
    this.#recipe = tensor.recipe
    this.#tensor = tensor.recipe ? null : tensor.retain()
    this.#recipe?.retain()
  }

  get(): T {
    return this.#tensor ?? this.#recipe!.value()
  }

  release(): void {
    this.#tensor?.release()
    this.#recipe?.release()
  }
}

/** Computes a cheap value again in the backward pass, once for all nodes that saved it, from ingredients that it keeps. */
export class Recipe<T extends ScopedTensor> {
  #references = 1
  #value: T | null = null

  constructor(
    readonly ingredients: readonly T[],
    readonly make: () => T,
  ) {
    for (const tensor of ingredients) tensor.retain()
  }

  value(): T {
    this.#value ??= keep(this.make())
    return this.#value
  }

  retain(): void {
    this.#references++
  }

  release(): void {
    if (--this.#references > 0) return
    this.#value?.release()
    for (const tensor of this.ingredients) tensor.release()
  }
}

/**
 * Puts an operation on the tape, if gradients are on and any input requires one. `inputs` are the tensors that gradients
 * flow to, in the order of `targets`; `backward` receives `saved` in the same order.
 */
export function record<T extends Taped<T>>(
  output: T,
  inputs: readonly T[],
  saved: readonly T[],
  backward: Backward<T>,
): T {
  if (recording && inputs.some((input) => input.requiresGrad)) {
    const nodes = inputs.map((input) => input.node)
    output.node = new TapeNode(nodes, saved, backward, output)
  }
  return output
}

/**
 * Puts a part of `whole` on the tape, a view at `place`. Its gradient is written there in the whole's, without a copy; so the parts
 * are all that is used of the whole, cover it without overlap, and a backward pass must reach all of them.
 */
export function recordPart<T extends Taped<T>>(whole: T, place: (whole: T) => T): T {
  const part = withRecording(false, () => place(whole))
  if (recording && whole.node) part.node = new TapeNode([whole.node], [], () => {}, part, null, place)
  return part
}

/** Lets the tape compute `output` again from `ingredients` instead of keeping it. */
export function recomputable<T extends Taped<T>>(output: T, ingredients: readonly T[], make: () => T): T {
  if (recording && output.requiresGrad) output.recipe = new Recipe(ingredients, make)
  return output
}
