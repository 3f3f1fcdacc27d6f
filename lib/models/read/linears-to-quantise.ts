/** A checkpoint of floats as the model has it that quantises them. */
import { UsageError } from '../../common/errors.js'
import { blockBytes, blockValues, isComputable } from '../../io/stored-dtype.js'
import { isBlockDType } from '../../native/addon.js'
import type { QuantiseFormat } from '../../options/index.js'
import type { ModelConfig } from '../network/model-config.js'
import { linearsOf } from '../network/plan.js'
import { fittingFormat } from '../quantise/fitting-format.js'
import { NF4_BLOCK } from './quantise-on-load.js'
import { isQuantised, isToQuantise, type StoredWeight, shapeOf } from './stored-weight.js'

/**
 * A checkpoint's weights where those of the blocks' linear layers are quantised; norms, embeddings, head and biases stay floats,
 * and so does a matrix whose rows fill no blocks.
 * @throws UsageError `quantised-weights` where such a weight is quantised already, `unfit-options` where all stay floats
 */
export function linearsToQuantise(
  weights: ReadonlyMap<string, StoredWeight>,
  { network }: ModelConfig,
  format: QuantiseFormat,
): Map<string, StoredWeight> {
  const linears = new Set(linearsOf(network).map(({ name }) => `${name}.weight`))
  const all = new Map(
    [...weights].map(([name, stored]) => [name, linears.has(name) ? quantisedWeight(name, stored, format) : stored]),
  )
  if ([...all.values()].some(isToQuantise)) return all
  throw new UsageError('unfit-options', `No linear layer of the model has rows of whole blocks of ${format}.`)
}

function quantisedWeight(name: string, stored: StoredWeight, format: QuantiseFormat): StoredWeight {
  if (isQuantised(stored) || isToQuantise(stored) || !isComputable(stored.dtype) || isBlockDType(stored.dtype)) {
    throw new UsageError(
      'quantised-weights',
      `${stored.path}: ${name} is quantised already, as ${stored.dtype}, and cannot be quantised to ${format}: leave the option quantise out, or give the model in floats.`,
    )
  }
  if (stored.shape.length !== 2) return stored
  const shape = shapeOf(stored)
  const [rows, columns] = shape as [number, number]
  const count = rows * columns
  if (format === 'nf4') {
    if (columns % 2 !== 0) return stored
    const bytes = count / 2 + 4 * Math.ceil(count / NF4_BLOCK)
    return { name, path: stored.path, dtype: 'nf4', shape, bytes, floats: stored }
  }
  const dtype = fittingFormat(format, columns)
  if (dtype === null) return stored
  const bytes = (count / blockValues(dtype)) * blockBytes(dtype)
  return { name, path: stored.path, dtype, shape, bytes, floats: stored }
}
