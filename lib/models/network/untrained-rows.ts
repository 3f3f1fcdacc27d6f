import { keep } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'

/** Rows that say what is usual in a table. */
const SAMPLES = 128
/** A trained row is rarely under half of the usual length; one that training never reached is zero, or decayed to nearly that. */
const SHORT = 0.1

/**
 * Those of `ids` whose rows of an embedding or a head [V, D] were, by their length, never trained: under a tenth of the
 * median of 128 evenly spaced rows.
 */
export async function untrainedRows(table: Tensor, ids: readonly number[]): Promise<number[]> {
  const rows = table.shape[0]!
  const count = Math.min(SAMPLES, rows)
  const sample: number[] = []
  for (let i = 0; i < count; i++) sample.push(await lengthOf(table, Math.floor((i * rows) / count)))
  const usual = sample.sort((a, b) => a - b)[Math.floor(count / 2)]!
  const short: number[] = []
  for (const id of ids) if ((await lengthOf(table, id)) < SHORT * usual) short.push(id)
  return short
}

async function lengthOf(table: Tensor, row: number): Promise<number> {
  using view = keep(table.rows(row, row + 1))
  const values = (await view.data()) as Float32Array
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
}
