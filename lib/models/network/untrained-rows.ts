import type { Linear } from '../../nn/linear.js'
import { scope } from '../../tensor/scope.js'
import { noGrad } from '../../tensor/tape.js'
import type { Weight } from '../../tensor/weight.js'

/** Number of rows for the median norm. */
const SAMPLES = 128
/**
 * A trained row's norm is rarely under half of the median; a row that training never reached is zero, or decayed to nearly
 * zero.
 */
const SHORT = 0.1

/**
 * Returns the ids whose rows of an embedding or a head [V, D] look untrained: their norm is under a tenth of the median of 128
 * evenly spaced rows.
 */
async function untrainedRows(table: Weight, ids: readonly number[]): Promise<number[]> {
  const rows = table.shape[0]!
  const count = Math.min(SAMPLES, rows)
  const sample: number[] = []
  for (let i = 0; i < count; i++) sample.push(await lengthOf(table, Math.floor((i * rows) / count)))
  const usual = sample.sort((a, b) => a - b)[Math.floor(count / 2)]!
  const short: number[] = []
  for (const id of ids) if ((await lengthOf(table, id)) < SHORT * usual) short.push(id)
  return short
}

/** Returns the ids whose rows of frozen tables, with what adapters add, look untrained. */
export async function untrainedTokens(tables: ReadonlySet<Linear>, ids: readonly number[]): Promise<number[]> {
  const found = new Set<number>()
  for (const table of tables) {
    if (table.weight.parameter) continue
    const adapted = noGrad(() => scope(() => table.adaptedWeight()))
    try {
      for (const id of await untrainedRows(adapted, ids)) found.add(id)
    } finally {
      if (adapted !== table.weight) adapted.dispose()
    }
  }
  return ids.filter((id) => found.has(id))
}

async function lengthOf(table: Weight, row: number): Promise<number> {
  using view = table.rows(row, row + 1)
  const values = await view.data()
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
}
