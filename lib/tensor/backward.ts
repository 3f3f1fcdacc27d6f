import { setImmediate } from 'node:timers/promises'
import { UsageError } from '../common/errors.js'
import { type DType, type NativeDevice, native } from '../native/addon.js'
import { keep, scope } from './scope.js'
import { markAsOne, noGrad, type Taped, type TapeNode, type TapeTarget, withRecording } from './tape.js'

/** Makes an uninitialised tensor. Passed as an argument because this file cannot import `Tensor`, which imports it. */
type Empty<T> = (shape: readonly number[], options: { device: NativeDevice; dtype: DType }) => T

/** Nodes enqueued before the loop waits for the device, which bounds how far JavaScript runs ahead. */
const NODES_AHEAD = 48
/** Nodes enqueued in one turn of the event loop: a few tenths of a millisecond. */
const NODES_IN_TURN = 12

/** A parameter, which accumulates its gradient. */
type Leaf<T extends Taped<T>> = NonNullable<TapeNode<T>['leaf']>

/** Walks the tape from a scalar to its parameters; see `Tensor.backward`. */
export async function backward<T extends Taped<T>>(
  root: T,
  empty: Empty<T>,
  onGradient?: (leaf: Leaf<T>) => void,
): Promise<void> {
  if (root.shape.some((size) => size !== 1)) {
    const came = `${root.dtype} [${root.shape.join(', ')}]`
    throw new UsageError(
      'unfit-shape',
      `Expected a scalar to go backward from (sum and mean make one) but received ${came}.`,
    )
  }
  if (!root.node) {
    throw new UsageError(
      'no-gradients',
      'Expected a scalar that was computed from a parameter to go backward from, but this is a constant: no input of it requires a gradient, or it was computed while gradients were off (noGrad, or a run that trains the model).',
    )
  }
  const seed = withRecording(false, () => keep(empty(root.shape, root)))
  native.fill(seed.native, 1)
  markAsOne(seed)
  root.node.gradient = seed
  let reached: Promise<void> = Promise.resolve()
  let enqueued = 0
  const nodes = laterFirst(root.node)
  const finals = onGradient ? byLastUse(nodes) : null
  for (const node of nodes) {
    noGrad(() => step(node, empty))
    for (const leaf of finals?.get(node) ?? []) onGradient!(leaf)
    if (++enqueued % NODES_AHEAD === 0) {
      const previous = reached
      reached = root.device.synchronize()
      reached.catch(() => {}) // the next await reports the failure
      await previous
    } else if (enqueued % NODES_IN_TURN === 0) {
      await setImmediate()
    }
  }
  await reached
}

/**
 * Walks part of a tape from any tensor, given the gradient with respect to it, without waiting for the device. Nodes that the
 * part starts at, without a `backward`, keep their gradients.
 */
export function backwardFrom<T extends Taped<T>>(root: TapeNode<T>, gradient: T, empty: Empty<T>): void {
  root.gradient = gradient.retain()
  root.borrowed = true
  for (const node of laterFirst(root)) noGrad(() => step(node, empty))
}

/**
 * Like `backwardFrom`, but stops at nodes older than `since`: these accumulate their gradients and keep them. `prepare`
 * receives the older nodes before the first gradient is written.
 */
export function backwardSince<T extends Taped<T>>(
  root: TapeNode<T>,
  gradient: T,
  empty: Empty<T>,
  since: number,
  prepare: (older: readonly TapeNode<T>[]) => void,
): void {
  const nodes = laterFirst(root, since)
  prepare(nodes.filter(({ order }) => order < since))
  targetOf(root, empty).pass(gradient)
  for (const node of nodes) if (node.order >= since) noGrad(() => step(node, empty))
}

/** Runs one node whose gradient is complete, and frees what it saved. */
function step<T extends Taped<T>>(node: TapeNode<T>, empty: Empty<T>): void {
  const { backward } = node
  if (!backward) return
  const gradient = node.gradient
  node.gradient = null
  try {
    if (gradient)
      scope(() =>
        backward(
          gradient,
          node.saved(),
          node.inputs.map((input) => targetOf(input, empty)),
        ),
      )
  } finally {
    gradient?.release()
    node.forgetSaved()
  }
}

/** Lists the nodes that `root` depends on, latest first, without looking behind nodes older than `since`. */
function laterFirst<T extends Taped<T>>(root: TapeNode<T>, since = 0): TapeNode<T>[] {
  const seen = new Set([root])
  const open = [root]
  for (let node = open.pop(); node; node = open.pop()) {
    if (node.order < since) continue
    for (const input of node.inputs) {
      if (!input || seen.has(input)) continue
      seen.add(input)
      open.push(input)
    }
  }
  return [...seen].sort((a, b) => b.order - a.order)
}

/** Groups parameters by the last node that adds to their gradients. */
function byLastUse<T extends Taped<T>>(nodes: readonly TapeNode<T>[]): Map<TapeNode<T>, Leaf<T>[]> {
  const lastOf = new Map<Leaf<T>, TapeNode<T>>()
  for (const node of nodes) for (const input of node.inputs) if (input?.leaf) lastOf.set(input.leaf, node)
  const leavesOf = new Map<TapeNode<T>, Leaf<T>[]>()
  for (const [leaf, node] of lastOf) leavesOf.set(node, [...(leavesOf.get(node) ?? []), leaf])
  return leavesOf
}

const nothing = { needed: false, write: () => {}, pass: () => {} }

function targetOf<T extends Taped<T>>(node: TapeNode<T> | null, empty: Empty<T>): TapeTarget<T> {
  if (!node) return nothing
  if (node.leaf) return leafTarget(node, node.leaf, empty)
  return {
    needed: true,
    write(write) {
      if (!node.gradient) {
        node.gradient = keep(gradientOf(node, empty))
        node.borrowed = false
        write(node.gradient, false)
        return
      }
      if (node.borrowed) {
        const own = keep(empty(node.like.shape, node.like))
        native.copy(node.gradient.native, own.native, 1)
        node.gradient.release()
        node.gradient = own
        node.borrowed = false
      }
      write(node.gradient, true)
    },
    pass(gradient) {
      if (node.gradient || node.place) {
        this.write((target, accumulate) => putInto(target, gradient, accumulate))
        return
      }
      node.gradient = gradient.retain()
      node.borrowed = true
    },
  }
}

/** Returns uninitialised memory for the gradient of a node. */
function gradientOf<T extends Taped<T>>({ like, place, inputs }: TapeNode<T>, empty: Empty<T>): T {
  if (!place) return empty(like.shape, like)
  const whole = inputs[0]!
  whole.gradient ??= keep(empty(whole.like.shape, whole.like))
  return place(whole.gradient)
}

function putInto<T extends Taped<T>>(target: T, gradient: T, accumulate: boolean): void {
  if (accumulate) native.add(gradient.native, target.native, 1)
  else native.copy(gradient.native, target.native, 1)
}

/** The target of a parameter, whose gradient accumulates over backward passes until `zeroGrad`. */
function leafTarget<T extends Taped<T>>(node: TapeNode<T>, leaf: { grad: T | null }, empty: Empty<T>): TapeTarget<T> {
  return {
    needed: true,
    write(write) {
      const accumulate = leaf.grad !== null
      leaf.grad ??= keep(empty(node.like.shape, { device: node.like.device, dtype: 'float32' }))
      write(leaf.grad, accumulate)
    },
    pass(gradient) {
      this.write((target, accumulate) => putInto(target, gradient, accumulate))
    },
  }
}
