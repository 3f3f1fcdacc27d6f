import { embedding } from '../../tensor/operations/embedding.js'
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
  const found = new Set<number>()
  for (const table of tables) {
    if (table.parameter) continue
    const rows = table.shape[0]!
    const count = Math.min(SAMPLES, rows)
    const sample = Array.from({ length: count }, (_, i) => Math.floor((i * rows) / count))
    const lengths = await lengthsOfRows(table, [...sample, ...ids])
    const usual = lengths.slice(0, count).sort()[Math.floor(count / 2)]!
    for (const [i, id] of ids.entries()) if (lengths[count + i]! < SHORT * usual) found.add(id)
  }
  return ids.filter((id) => found.has(id))
}

async function lengthsOfRows(table: Weight, rows: readonly number[]): Promise<Float32Array> {
  const lengthsOnDevice = () => {
    const at = Tensor.from(rows, [rows.length], { device: table.device, dtype: 'int32' })
    return norms(embedding(table, at, 'float32'))
  }
  using lengths = keep(noGrad(() => scope(lengthsOnDevice)))
  return (await lengths.data()) as Float32Array
}
