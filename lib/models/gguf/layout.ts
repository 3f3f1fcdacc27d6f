import type { ModelSizes } from '../network/model-config.js'

/** Differences between a tensor of a GGUF file and the weight that it holds. */
export interface TensorLayout {
  /** Row r of the weight is row `rows[r]` of the file. */
  readonly rows?: Int32Array | undefined
  /** The same of runs of columns, which are equally long. */
  readonly columns?: Int32Array | undefined
  /** Whether the file has -exp(weight). */
  readonly isNegatedExponential?: boolean
}

/**
 * Returns the order of equally long runs of a row-major tensor: run r of the weight is run `order[r]` of the file. A run is a row, or
 * part of one where columns are in another order. Null: the orders agree.
 */
export function orderOfRuns(rows: number, layout: TensorLayout | null): Int32Array | null {
  const { rows: ofRows, columns } = layout ?? {}
  if (!columns) return ofRows ?? null
  const each = columns.length
  return Int32Array.from({ length: rows * each }, (_, run) => {
    const row = Math.floor(run / each)
    return (ofRows?.[row] ?? row) * each + columns[run % each]!
  })
}

type Floats = Float32Array | Float64Array

/** Returns values of a weight in the order of the file. */
export function inFileOrder<Values extends Floats>(values: Values, rows: number, layout: TensorLayout | null): Values {
  return moved(values, orderOfRuns(rows, layout), (run, place) => [run, place])
}

/** Returns values of a file in the order of the weight. */
export function inWeightOrder<Values extends Floats>(
  values: Values,
  rows: number,
  layout: TensorLayout | null,
): Values {
  return moved(values, orderOfRuns(rows, layout), (run, place) => [place, run])
}

function moved<Values extends Floats>(
  values: Values,
  order: Int32Array | null,
  fromTo: (run: number, place: number) => [number, number],
): Values {
  if (!order) return values
  const sorted = values.slice() as Values
  const length = values.length / order.length
  for (const [run, place] of order.entries()) {
    const [from, to] = fromTo(run, place)
    sorted.set(values.subarray(from * length, (from + 1) * length), to * length)
  }
  return sorted
}

/**
 * The order that turns GGUF's query and key rows into Hugging Face's: row r of the Hugging Face weight (or bias) is row
 * `order[r]` of GGUF's.
 *
 * In some architectures llama.cpp rotates adjacent pairs (2j, 2j + 1) of a head, Hugging Face the pairs
 * (j, j + headSize / 2): the same rotation after the rows of each head are interleaved. Rows are whole blocks of a
 * quantised format, so raw rows may be permuted.
 *
 * @param heads query heads for `attn_q`, key-value heads for `attn_k`
 * @returns [heads · headSize]
 */
export function unpermuteRows(heads: number, headSize: number): Int32Array {
  const half = headSize / 2
  return Int32Array.from({ length: heads * headSize }, (_, row) => {
    const inHead = row % headSize
    return row - inHead + 2 * (inHead % half) + Math.floor(inHead / half)
  })
}

/** Returns the layout of queries and keys by GGUF's name where files store pairs together; null for other tensors. */
export function pairedRows(
  ggufName: string,
  { heads, keyValueHeads, headSize }: Pick<ModelSizes, 'heads' | 'keyValueHeads' | 'headSize'>,
): TensorLayout | null {
  const projection = /^blk\.\d+\.attn_([qk])\.(?:weight|bias)$/.exec(ggufName)?.[1]
  if (projection === undefined) return null
  return { rows: unpermuteRows(projection === 'q' ? heads : keyValueHeads, headSize) }
}
