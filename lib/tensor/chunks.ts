import { UsageError } from '../common/errors.js'
import { native } from '../native/addon.js'
import { backwardSince } from './backward.js'
import { writeScaled } from './gradient-writes.js'
import { keep, scope } from './scope.js'
import { isRecording, markAsOne, TapeNode } from './tape.js'
import { Tensor } from './tensor.js'

/** Computes a scalar from rows [from, to). */
type ChunkBody = (rows: Tensor, from: number, to: number) => Tensor

/**
 * Returns Σ body(rows [from, to) of x, from, to) over chunks of at most `size` rows, [1] float32. With gradients on, each
 * chunk's gradients are computed right after its forward pass and its saved tensors freed before the next chunk; the backward
 * pass of the sum only scales them. Gradients reach x and everything else in `body` that requires them.
 */
export function sumOfChunks(x: Tensor, size: number, body: ChunkBody): Tensor {
  const total = Tensor.zeros([1], { device: x.device })
  const rows = x.shape[0]!
  const gradients = isRecording() ? new ChunkGradients(x) : null
  try {
    for (let from = 0; from < rows; from += size) {
      const to = Math.min(rows, from + size)
      scope(() => {
        const chunk = x.rows(from, to)
        gradients?.begin(chunk)
        const part = body(chunk, from, to)
        requireScalar(part)
        native.add(part.view([1]).native, total.native, 1)
        gradients?.take(part, from, to)
      })
    }
    gradients?.attach(total)
    return total
  } catch (error) {
    total.dispose()
    throw error
  } finally {
    gradients?.giveBack()
  }
}

function requireScalar(part: unknown): asserts part is Tensor {
  if (part instanceof Tensor && part.elements === 1) return
  const came = part instanceof Tensor ? `[${part.shape.join(', ')}]` : typeof part
  throw new UsageError('unfit-shape', `Expected a scalar for the result of each chunk but received ${came}.`)
}

/** Gradients summed over chunks: of x, and of older nodes of the tape. */
class ChunkGradients {
  readonly #x: Tensor
  readonly #dX: Tensor | null
  /** The gradients that older nodes had before, to be restored. */
  readonly #before = new Map<TapeNode<Tensor>, { gradient: Tensor | null; borrowed: boolean }>()
  #start: TapeNode<Tensor> | null = null
  #since = 0

  constructor(x: Tensor) {
    this.#x = x
    this.#dX = x.requiresGrad ? keep(Tensor.zeros(x.shape, x)) : null
  }

  /** Starts a separate tape at a chunk's rows. */
  begin(chunk: Tensor): void {
    const start = new TapeNode<Tensor>([], [], null, chunk)
    this.#since = start.order + 1
    this.#start = this.#dX ? start : null
    chunk.node = this.#start
  }

  /** Runs the backward pass of a chunk's result, and stores the gradient of rows [from, to). */
  take(part: Tensor, from: number, to: number): void {
    const { node } = part
    if (!node) return
    const one = Tensor.empty(part.shape, part)
    native.fill(one.native, 1)
    markAsOne(one)
    const start = this.#start
    backwardSince(node, one, Tensor.empty, this.#since, (older) => {
      for (const each of older) {
        if (each !== start && !this.#before.has(each)) this.#before.set(each, takeGradient(each))
      }
    })
    if (!start?.gradient) return
    this.#dX!.rows(from, to).copyFrom(start.gradient)
    start.gradient.release()
    start.gradient = null
  }

  /** Puts `total` on the tape: its backward pass passes the stored gradients on, scaled. */
  attach(total: Tensor): void {
    const reached = [...this.#before.keys()].filter((node) => gradientOf(node) !== null)
    const inputs = [...(this.#dX ? [this.#x.node!] : []), ...reached]
    if (inputs.length === 0) return
    const saved = [...(this.#dX ? [this.#dX] : []), ...reached.map((node) => gradientOf(node)!)]
    total.node = new TapeNode(
      inputs,
      saved,
      (gradient, values, targets) => {
        for (const [i, target] of targets.entries()) writeScaled(target, gradient, values[i]!)
      },
      total,
    )
  }

  giveBack(): void {
    this.#dX?.release()
    for (const [node, { gradient, borrowed }] of this.#before) {
      gradientOf(node)?.release()
      if (node.leaf) node.leaf.grad = gradient
      else Object.assign(node, { gradient, borrowed })
    }
  }
}

function gradientOf(node: TapeNode<Tensor>): Tensor | null {
  return node.leaf ? node.leaf.grad : node.gradient
}

/** Removes a node's gradient and returns it. */
function takeGradient(node: TapeNode<Tensor>): { gradient: Tensor | null; borrowed: boolean } {
  const had = { gradient: gradientOf(node), borrowed: node.borrowed }
  if (node.leaf) node.leaf.grad = null
  else node.gradient = null
  return had
}
