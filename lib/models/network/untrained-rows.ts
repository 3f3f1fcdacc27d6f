import { embedding } from '../../tensor/operations/indexing.js'
import { norms } from '../../tensor/operations/reductions.js'
import { keep, scope } from '../../tensor/scope.js'
import { noGrad } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'

/** Number of rows for the median norm. */
const SAMPLES = 128
/**
 * A trained row's norm is rarely under half of the median; a row that training never reached is zero, or decayed to nearly
 * zero.
 */
const SHORT = 0.1

/**
 * Returns the ids whose rows of a frozen table [V, D] look untrained, without what adapters add: their norm is under a tenth of
 * the median of 128 evenly spaced rows.
 */
export async function untrainedTokens(tables: ReadonlySet<Weight>, ids: readonly number[]): Promise<number[]> {
  // All are enqueued before the first is read: a run that begins meanwhile may replace the tables.
  const found = await Promise.all(
    [...tables].filter((table) => !table.parameter).map((table) => untrainedIn(table, ids)),
  )
  const all = new Set(found.flat())
  return ids.filter((id) => all.has(id))
}

async function untrainedIn(table: Weight, ids: readonly number[]): Promise<number[]> {
  const rows = table.shape[0]!
  const count = Math.min(SAMPLES, rows)
  const sample = Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count))
  const lengths = await lengthsOfRows(table, [...sample, ...ids])
  const usual = lengths.slice(0, count).sort()[Math.floor(count / 2)]!
  return ids.filter((_, i) => lengths[count + i]! < SHORT * usual)
}

async function lengthsOfRows(table: Weight, rows: readonly number[]): Promise<Float32Array> {
  const lengthsOnDevice = () => {
    const at = Tensor.from(rows, [rows.length], { device: table.device, dtype: 'int32' })
    return norms(embedding(table, at, 'float32'))
  }
  using lengths = keep(noGrad(() => scope(lengthsOnDevice)))
  return (await lengths.data()) as Float32Array
}
