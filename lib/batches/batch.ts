import { custom } from '../common/arguments.js'

/**
 * The input of one forward pass: documents end to end, without padding. All arrays are in JavaScript memory.
 *
 * T tokens in B documents. Attention never crosses a document, positions start at 0 in each.
 */
export interface Batch {
  /** [T] token ids. */
  readonly ids: Int32Array
  /** [T] the id to predict after this token, or -1 if it is not trained (always so at a document's last token). */
  readonly targets: Int32Array
  /** [T] position within the document. */
  readonly positions: Int32Array
  /** [B + 1] start of each document, then T. */
  readonly offsets: Int32Array
  /** [T] keys of dropout masks, from (row of the optimizer step, position), so that they do not depend on packing. */
  readonly rowKeys: BigInt64Array
  /** The number of targets that are not -1. */
  readonly targetTokens: number
  /** Number of documents, B. */
  readonly rows: number
  /** [B] the weight of each document; absent if all are 1. */
  readonly weights?: Float32Array
  /**
   * [B] the label of the example that begins with each document: the number of a label, 1 for a completion that is judged good,
   * or the margin of a pair; 0 for further documents of an example. Absent if all are 0.
   */
  readonly labels?: Float32Array
  /** [B] tokens of each document without padding; absent if there is none. */
  readonly lengths?: Int32Array
}

/** Schema of arguments that must be a batch. */
export const aBatch = custom('a batch (packBatch and DataLoader make one)', (value) => {
  const { ids, targets, positions, offsets, rowKeys, targetTokens } = (value ?? {}) as Partial<Batch>
  const arrays = [ids, targets, positions, offsets]
  return (
    arrays.every((array) => array instanceof Int32Array) &&
    rowKeys instanceof BigInt64Array &&
    Number.isSafeInteger(targetTokens)
  )
})

/** Returns the row of the optimizer step that contains a document. */
export const rowOfDocument = ({ rowKeys, offsets }: Batch, document: number): number =>
  Number(rowKeys[offsets[document]!]! >> 32n)

/** Returns the index of a document's first token and the index after its last token, without padding. */
export function boundsOf({ offsets, lengths }: Batch, document: number): [start: number, end: number] {
  const start = offsets[document]!
  return [start, lengths ? start + lengths[document]! : offsets[document + 1]!]
}

/** Returns the weight of each target; null if all are 1. */
export function targetWeights(batch: Batch): Float32Array | null {
  const { weights } = batch
  if (!weights) return null
  return Float32Array.from(
    targetCounts(batch).flatMap((count, document) => new Array<number>(count).fill(weights[document]!)),
  )
}

/** Returns the sum of the targets' weights: their number, if all are 1. */
export const weightOfTargets = (batch: Batch): number => totalWeight(targetWeights(batch), batch.targetTokens)

/** Returns the sum of weights; `count` if all are 1. */
export const totalWeight = (weights: Float32Array | null, count: number): number =>
  weights ? weights.reduce((total, weight) => total + weight, 0) : count

/** Returns the weight of each of some documents; null if all are 1. */
export const documentWeights = ({ weights }: Batch, documents: Iterable<number>): Float32Array | null =>
  weights ? Float32Array.from(documents, (document) => weights[document]!) : null

/** Returns the number of targets of each document. */
export const targetCounts = ({ targets, offsets }: Batch): number[] =>
  Array.from(offsets.subarray(1), (end, document) =>
    targets.subarray(offsets[document], end).reduce((count, target) => count + Number(target >= 0), 0),
  )
