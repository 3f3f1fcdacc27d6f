import { aNumber, check, optionsSchema } from '../../common/arguments.js'
import { type FloatDType, native } from '../../native/addon.js'
import { writeMultiple, writeScaled, writeWeightGradient } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { runSteps, type Steps } from '../steps.js'
import { isRecording, record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { type Weight, weightOf } from '../weight.js'
import { cast, mul } from './arithmetic.js'
import { scaleRows } from './factors.js'
import { gradientBeside, inParts, type LogitsForm, lossesInParts } from './loss-in-parts.js'
import { sum } from './reductions.js'
import { dense, requireTensor } from './shaped.js'

export type { LogitsForm }

/** Bytes of float32 logits in memory at one time: on a CPU, and the least on a GPU. */
const LOGITS_BUDGET = 48 * 2 ** 20
/** Up to this many chunks, a head in blocks or codes is dequantised in panels for each product, not unpacked as a whole. */
const FEW_CHUNKS = 2
/** Rows of a chunk on a GPU: with fewer, reading the head takes longer than the arithmetic. */
const ROWS_ON_GPU = 1024
/** The largest share of a GPU's memory for such a chunk. */
const SHARE_ON_GPU = 1 / 12

interface LogitsDevice {
  readonly kind: string
  facts(): { totalMemory: number }
}

/** Returns the maximum memory for float32 logits on a device, for a head of `vocabulary` tokens [bytes]. */
export function logitsBytes(device: LogitsDevice, vocabulary: number): number {
  if (device.kind === 'cpu') return LOGITS_BUDGET
  return Math.max(LOGITS_BUDGET, Math.min(ROWS_ON_GPU * 4 * vocabulary, SHARE_ON_GPU * device.facts().totalMemory))
}

const plainLogits: LogitsForm = { scale: 1, softcap: null }

const formArguments = { form: optionsSchema('form', { scale: aNumber, softcap: aNumber.nullable() }) }

/**
 * Returns the sum of cross-entropies [1] (float32) of hidden [N, D] through the head [V, D] against targets [N] (int32,
 * negative: no target). Logits are never whole in memory, but computed in parts of columns or chunks of rows; with gradients
 * on, so are their gradients, and the backward pass only scales. A frozen head gets no weight gradient.
 */
export function linearCrossEntropy(
  hidden: Tensor,
  head: Tensor,
  targets: Tensor,
  form: LogitsForm = plainLogits,
): Tensor {
  requireTensors({ hidden, head, targets })
  check({ form }, formArguments)
  return runSteps(weightCrossEntropy(hidden, weightOf(head), targets, form))
}

/** `linearCrossEntropy` through a head in any storage format, in steps. */
export function* weightCrossEntropy(hidden: Tensor, head: Weight, targets: Tensor, form: LogitsForm): Steps<Tensor> {
  const { device } = hidden
  const isTrained = head.floats?.requiresGrad === true
  const wanted = isRecording() && (hidden.requiresGrad || isTrained)
  const dHidden = wanted && hidden.requiresGrad ? Tensor.empty(hidden.shape, hidden) : null
  const dHead = wanted && isTrained ? Tensor.zeros(head.shape, { device }) : null
  const losses =
    inParts(hidden) && !dHead
      ? yield* lossesInParts(hidden, head, targets, form, dHidden)
      : lossesByChunks(hidden, head, targets, form, dHidden, dHead)
  const total = Tensor.empty([1], { device })
  native.sum(losses.native, total.native, false)
  losses.dispose()
  const saved = [dHidden, dHead].filter((tensor) => tensor !== null)
  return record(total, head.floats ? [hidden, head.floats] : [hidden], saved, (gradient, kept, [toHidden, toHead]) => {
    const [first, second] = dHidden ? [kept[0], kept[1]] : [undefined, kept[0]]
    if (first) writeScaled(toHidden!, gradient, first)
    if (second) writeScaled(toHead!, gradient, second)
  })
}

/**
 * Returns losses [N] (float32), with logits in chunks of rows. Writes the gradients of their sum, in which each loss has its
 * element of `weights` [N] or 1 as a factor, to dHidden [N, D], and adds them to dHead [V, D].
 */
function lossesByChunks(
  hidden: Tensor,
  head: Weight,
  targets: Tensor,
  { scale, softcap }: LogitsForm,
  dHidden: Tensor | null = null,
  dHead: Tensor | null = null,
  weights: Tensor | null = null,
): Tensor {
  const dtype = hidden.dtype as FloatDType
  const wanted = dHidden !== null || dHead !== null
  const rows = hidden.shape[0]!
  const losses = Tensor.empty([rows], { device: hidden.device })
  const inPanels = head.floats === null && rows <= FEW_CHUNKS * rowsOfLogits(head)
  const weight = wanted && !inPanels ? head.unpacked(dtype) : head
  for (const [from, to] of chunks(rows, head)) {
    scope(() => {
      const x = hidden.rows(from, to)
      const logits = products(x, weight, scale)
      const dLogits = wanted ? gradientBeside(logits, dtype) : null
      const [at, own] = [targets.rows(from, to), losses.rows(from, to)]
      native.crossEntropy(logits.native, at.native, softcap ?? 0, own.native, dLogits?.native ?? null)
      if (!dLogits) return
      if (weights) multiplyRows(dLogits, weights.rows(from, to))
      if (dHidden) weight.multiplyGradient(dLogits, dHidden.rows(from, to), scale, false)
      const product = { a: dLogits.native, transposeA: true, b: x.native, alpha: scale, accumulate: true }
      if (dHead) native.matmul({ ...product, c: dHead.native })
    })
  }
  return losses
}

/** Multiplies each row of x [N, V] by its factor, in place. */
function multiplyRows(x: Tensor, factors: Tensor): void {
  const ones = Tensor.empty([x.shape[1]!], { device: x.device })
  native.fill(ones.native, 1)
  native.rmsNormApply(x.native, ones.native, 0, factors.native, x.native)
}

/** Returns the sum of cross-entropies [1] (float32) of logits [N, V] against targets [N] (int32, negative: no target). */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  requireTensors({ logits, targets })
  const { device } = logits
  const losses = Tensor.empty([logits.shape[0]!], { device })
  const total = Tensor.empty([1], { device })
  const dLogits = isRecording() && logits.requiresGrad ? Tensor.empty(logits.shape, logits) : null
  native.crossEntropy(logits.native, targets.native, 0, losses.native, dLogits?.native ?? null)
  native.sum(losses.native, total.native, false)
  return record(total, [logits], dLogits ? [dLogits] : [], (gradient, [values], [toLogits]) => {
    writeScaled(toLogits!, gradient, values!)
  })
}

/** Returns float32 logits [N, V] of hidden states [N, D] through the head [V, D]; a frozen head gets no gradient. */
export function logitsOf(hidden: Tensor, head: Weight, { scale, softcap }: LogitsForm = plainLogits): Tensor {
  const logits = products(hidden, head, scale)
  const { floats, tensors } = head
  const dtype = hidden.dtype as FloatDType
  const saved = floats?.requiresGrad ? [hidden, ...tensors] : tensors
  record(logits, floats ? [hidden, floats] : [hidden], saved, (gradient, [input], [toHidden, toHead]) => {
    // Products need a gradient in the activations' dtype, as in linearCrossEntropy.
    const dLogits = cast(gradient, dtype)
    toHidden!.write((target, add) => head.multiplyGradient(dLogits, target, scale, add))
    if (toHead) writeWeightGradient(toHead, dLogits, input!, scale)
  })
  return softcap === null ? logits : capped(logits, softcap)
}

/** softcap · tanh(logits / softcap), in the logits' memory. */
function capped(logits: Tensor, softcap: number): Tensor {
  native.capLogits(logits.native, softcap)
  const result = logits.view(logits.shape)
  return record(result, [logits], [logits.view(logits.shape)], (gradient, [values], [toLogits]) => {
    const tanh = mul(values!, 1 / softcap)
    toLogits!.write((target, add) =>
      native.elementwise('tanhGradient', gradient.native, tanh.native, target.native, add),
    )
  })
}

/** scale · hidden headᵀ [N, V] in float32. */
function products(hidden: Tensor, head: Weight, scale: number): Tensor {
  const logits = Tensor.empty([hidden.shape[0]!, head.shape[0]!], { device: hidden.device })
  head.multiply(hidden, logits, scale, false)
  return logits
}

/** Returns log-probabilities [N] (float32) of the targets, in parts like the loss. */
export function* targetLogProbs(
  hidden: Tensor,
  head: Weight,
  targets: Tensor,
  form: LogitsForm = plainLogits,
): Steps<Tensor> {
  const { floats } = head
  const isTrained = floats?.requiresGrad === true
  const wanted = isRecording() && hidden.requiresGrad && !isTrained
  const dHidden = wanted ? Tensor.empty(hidden.shape, hidden) : null
  const losses = inParts(hidden)
    ? yield* lossesInParts(hidden, head, targets, form, dHidden)
    : lossesByChunks(hidden, head, targets, form, dHidden)
  native.copy(losses.native, losses.native, -1)
  if (!isTrained) {
    // A row's loss depends on its own hidden state alone, so that the gradients of the sum are the gradients of each row.
    return record(losses, [hidden], dHidden ? [dHidden] : [], (dY, [slopes], [toHidden]) =>
      writeMultiple(toHidden!, -1, scaleRows(slopes!, dense(dY))),
    )
  }
  // Gradients of the head need the gradients of each row, which only the backward pass knows: it computes the logits again.
  const saved = [hidden, targets, ...head.tensors]
  return record(losses, [hidden, floats], saved, (dY, [x, at], [toHidden, toHead]) => {
    const dHidden = toHidden!.needed ? Tensor.empty(hidden.shape, x!) : null
    const dHead = Tensor.zeros(head.shape, { device: x!.device })
    lossesByChunks(x!, head, at!, form, dHidden, dHead, mul(dense(dY), -1))
    if (dHidden) toHidden!.pass(dHidden)
    toHead!.pass(dHead)
  })
}

/** `weightCrossEntropy` with a factor of each row's loss. */
export const weightedCrossEntropy = (weights: Float32Array): typeof weightCrossEntropy =>
  function* (hidden, head, targets, form) {
    const logProbs = yield* targetLogProbs(hidden, head, targets, form)
    const factors = weights.map((weight) => -weight)
    return sum(mul(logProbs, Tensor.from(factors, [factors.length], { device: hidden.device })))
  }

/** Returns the number of rows of logits in memory at one time. */
export function rowsOfLogits({ device, shape }: Weight): number {
  const vocabulary = shape[0]!
  return Math.max(1, Math.floor(logitsBytes(device, vocabulary) / (4 * vocabulary)))
}

function* chunks(rows: number, head: Weight): Generator<[number, number]> {
  const size = rowsOfLogits(head)
  for (let from = 0; from < rows; from += size) yield [from, Math.min(rows, from + size)]
}

function requireTensors(tensors: Readonly<Record<string, unknown>>): void {
  for (const [name, tensor] of Object.entries(tensors)) requireTensor(name, tensor)
}
