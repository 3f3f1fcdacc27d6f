import { orUsageError } from './command-line.mjs'
import { parseMethod } from './methods.mjs'
import { dtypeOf, whole } from './options.mjs'

/** Options that describe a training step, for `own` of readOptions. */
export const stepOptions = /** @type {const} */ ({
  method: { type: 'string', default: 'rotation:8' },
  dtype: { type: 'string', default: 'bfloat16' },
  rows: { type: 'string', default: '4' },
  length: { type: 'string', default: '512' },
})

/** Returns `{ method, dtype, rows, length }` from the result of readOptions. A wrong option ends the process. */
export function stepOf({ method, dtype, rows, length }) {
  return orUsageError(() => ({
    method: parseMethod(method),
    dtype: dtypeOf('dtype', dtype),
    rows: whole('rows', rows, 1),
    length: whole('length', length, 2),
  }))
}
