import { type FloatDType, native } from '../../native/addon.js'
import { writeByAdding } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'
import type { Weight } from '../weight.js'

/** Rows of table [V, D] at ids [T] (int32), in `dtype`. Ids out of range reject the next wait. */
export function embedding(table: Weight, ids: Tensor, dtype: FloatDType): Tensor {
  const y = Tensor.empty([ids.shape[0]!, table.shape[1]!], { device: table.device, dtype })
  table.lookUp(ids, y)
  return record(y, table.floats ? [table.floats] : [], [ids], (dY, [at], [dTable]) => {
    writeByAdding(dTable!, (target) => native.embeddingBackward(dY.native, at!.native, target.native))
  })
}
