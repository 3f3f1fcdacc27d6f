import { type FloatDType, native } from '../../native.js'
import { writeByAdding, writeByStoring } from '../gradient-writes.js'
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

/** Rows of x [T, D] at `rows` [N] (int32, distinct). */
export function gatherRows(x: Tensor, rows: Tensor): Tensor {
  const y = Tensor.empty([rows.shape[0]!, x.shape[1]!], x)
  native.gatherRows(x.native, rows.native, y.native)
  return record(y, [x], [rows], (dY, [at], [dX]) => {
    writeByStoring(dX!, (target) => {
      native.fill(target.native, 0)
      native.scatterRows(dY.native, at!.native, target.native)
    })
  })
}
