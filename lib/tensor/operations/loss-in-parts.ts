import { type FloatDType, native } from '../../native/addon.js'
import { scope, scopeOverSteps } from '../scope.js'
import type { Steps } from '../steps.js'
import { Tensor } from '../tensor.js'
import { type Weight, weightOf } from '../weight.js'

/** Columns of logits in memory at one time, and their maximum number of rows. */
const PART_COLUMNS = 1024
const PART_ROWS = 1024
/** Maximum number of parts: a large vocabulary has wider ones, since each part takes a few calls. */
const MOST_PARTS = 128

/** The transformation of the head's products to logits: they are scaled, then capped. */
export interface LogitsForm {
  /** Factor of the logits (Granite); 1 for most families. */
  readonly scale: number
  /** Logits become softcap · tanh(logits / softcap) (Gemma 2); null: unchanged. */
  readonly softcap: number | null
}

/** Whether a device computes logits in parts of their columns; GPUs use chunks of rows. */
export function inParts({ device, dtype }: Tensor): boolean {
  return native.supports(device, 'crossEntropyPart', [dtype])
}

/**
 * Returns losses [N] (float32) of hidden [N, D], and writes the gradients of their sum to dHidden [N, D], from logits in parts
 * of their columns. Each part of the head is unpacked once, for both of its products: the softmax's denominator is known only
 * after the last part, so sums are rescaled at the end. Yields after each part of the head.
 */
export function* lossesInParts(
  hidden: Tensor,
  head: Weight,
  targets: Tensor,
  form: LogitsForm,
  dHidden: Tensor | null,
): Steps<Tensor> {
  const [count, device] = [hidden.shape[0]!, hidden.device]
  const losses = Tensor.empty([count], { device })
  const ofRows = function* (whole: Weight, from: number, to: number): Steps<void> {
    const [x, at, own] = [hidden, targets, losses].map((tensor) => tensor.rows(from, to)) as [Tensor, Tensor, Tensor]
    yield* lossesOfRows(x, whole, at, form, own, dHidden?.rows(from, to) ?? null)
  }
  const ofAll = function* (): Steps<void> {
    // The rows of a parameter cannot use its cached cast.
    const whole = head.floats ? head.unpacked(hidden.dtype as FloatDType) : head
    // Between two steps a run may replace the weight, or a parameter's cast.
    for (const tensor of whole.tensors) tensor.retain()
    try {
      for (let from = 0; from < count; from += PART_ROWS) {
        yield* scopeOverSteps(ofRows(whole, from, Math.min(count, from + PART_ROWS)))
      }
    } finally {
      for (const tensor of whole.tensors) tensor.release()
    }
  }
  yield* scopeOverSteps(ofAll())
  return losses
}

function* lossesOfRows(
  x: Tensor,
  whole: Weight,
  targets: Tensor,
  form: LogitsForm,
  losses: Tensor,
  dX: Tensor | null,
): Steps<void> {
  const { device, shape } = x
  const rows = shape[0]!
  const dtype = x.dtype as FloatDType
  const [scale, softcap] = [form.scale, form.softcap ?? 0]
  const vocabulary = whole.shape[0]!
  const size = Math.min(vocabulary, columnsOfPart(vocabulary))
  const running = Tensor.empty([rows, 4], { device })
  let logits: Tensor = Tensor.empty([rows, size], { device })
  let exponentials = dX ? gradientBeside(logits, dtype) : null
  const sums = dX ? Tensor.zeros(shape, { device }) : null
  for (let first = 0; first < vocabulary; first += size) {
    const count = Math.min(size, vocabulary - first)
    if (count < size) [logits, exponentials] = [logits.columns(0, count), exponentials?.columns(0, count) ?? null]
    scope(() => {
      const own = whole.rows(first, first + count)
      const values = own.floats ?? own.values(dtype)
      const part = weightOf(values)
      part.multiply(x, logits, scale, false)
      native.crossEntropyPart({
        logits: logits.native,
        targets: targets.native,
        part: { first, softcap },
        running: running.native,
        values: dX && values.native,
        exponentials: exponentials?.native ?? null,
        sums: sums?.native ?? null,
        chosen: dX?.native ?? null,
      })
      if (exponentials) part.multiplyGradient(exponentials, sums!, 1, true)
    })
    yield
  }
  native.crossEntropyOfParts({
    running: running.native,
    targets: targets.native,
    softcap,
    scale,
    sums: sums?.native ?? null,
    losses: losses.native,
    dX: dX?.native ?? null,
  })
}

function columnsOfPart(vocabulary: number): number {
  const cell = 256
  return Math.max(PART_COLUMNS, Math.ceil(vocabulary / MOST_PARTS / cell) * cell)
}

/**
 * Returns memory for the gradient of float32 logits [N, V]. On a CPU it is the logits' own memory, where a 16-bit row takes the
 * first half of its own; on a GPU, whose threads share a row, some would write where others still read.
 */
export function gradientBeside(logits: Tensor, dtype: FloatDType): Tensor {
  const { device, shape } = logits
  const [rows, vocabulary] = shape as [number, number]
  if (dtype === 'float32') return logits
  if (device.kind !== 'cpu') return Tensor.empty(shape, { device, dtype })
  using wide = logits.memoryAs(dtype, [rows, 2 * vocabulary])
  return wide.columns(0, vocabulary)
}
