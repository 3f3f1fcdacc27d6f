import { type DropoutKey, native } from '../../native/addon.js'
import { writeByStoring } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** x with elements dropped and the rest scaled by 1 / (1 - p). The mask is a function of the key and of rowKeys [T] (int64). */
export function dropout(x: Tensor, rowKeys: Tensor, key: DropoutKey): Tensor {
  const y = Tensor.empty(x.shape, x)
  native.dropout(x.native, rowKeys.native, key, y.native)
  return record(y, [x], [rowKeys], (dY, [keys], [dX]) => {
    writeByStoring(dX!, (target) => native.dropout(dY.native, keys!.native, key, target.native))
  })
}
