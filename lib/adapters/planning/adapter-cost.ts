/** The memory that an adapter needs, computed from its configuration and the shapes of layers before it is made. */
import { UsageError } from '../../common/errors.js'
import { bytesPerValue, type FloatDType } from '../../native/addon.js'
import type { AdapterConfigBase, LayerFacts, LayerMemory } from '../contract/adapter.js'
import { memoryOfWeightForm } from '../contract/adapter-layer.js'
import { rankOf } from '../contract/patterns.js'
import { adapterMethod } from '../registry.js'
import { countParameters, countValues } from '../tensors/declared-tensors.js'

/** The cost of an adapter; all in bytes except `trained`. */
export interface AdapterCost {
  /** Number of trained values. */
  readonly trained: number
  /** Device memory of its values, trained or not. */
  readonly values: number
  /** Device memory of values that steps derive from them and keep. */
  readonly kept: number
  /** Device memory of the largest working space of a product. */
  readonly working: number
  /** Peak host memory while a layer is made. */
  readonly making: number
}

interface CostOptions {
  /** The dtype of activations. */
  readonly dtype: FloatDType
  /** Number of values of modules that are trained whole. */
  readonly whole?: number
  /** Whether the adapter is merged and restarted: this needs float32 sums of weights, and briefly both adapters. */
  readonly restarts?: boolean
}

/** Returns the cost of values that are trained directly. */
export function costOfValues(trained: number, dtype: FloatDType): AdapterCost {
  return { trained, values: 4 * trained, kept: bytesOfCopies(trained, dtype), working: 0, making: 0 }
}

/** Returns the cost of an adapter. */
export function adapterCost(
  config: AdapterConfigBase,
  layers: readonly LayerFacts[],
  { dtype, whole = 0, restarts = false }: CostOptions,
): AdapterCost {
  const method = adapterMethod(config.method)
  return layers.reduce(
    (sum, layer): AdapterCost => {
      const trained = countParameters(method, config, layer)
      const values = countValues(method, config, layer, layers)
      const memory: Partial<LayerMemory> = method.layerMemory?.(config, layer) ?? memoryOfWeightForm(layer)
      const { tables = 0, derived, making, working = 0 } = memory
      const copies = derived === undefined ? bytesOfCopies(values, dtype) : derived * bytesPerValue(dtype)
      const sums = dtype === 'float32' ? 0 : 4 * layer.inFeatures * layer.outFeatures
      return {
        trained: sum.trained + trained,
        values: sum.values + 4 * (values + tables),
        kept: sum.kept + copies + (restarts ? sums + 4 * values + 8 * trained : 0),
        working: Math.max(sum.working, 4 * working),
        making: Math.max(sum.making, making ?? 4 * values),
      }
    },
    costOfValues(whole, dtype),
  )
}

/**
 * Returns notes, one sentence each, about ranks that are higher than layers can use.
 * @throws UsageError `invalid-rank` for a rank that is impossible
 */
export function rankNotes(config: AdapterConfigBase, layers: readonly LayerFacts[]): string[] {
  const method = adapterMethod(config.method)
  const beyond = layers.flatMap((layer) => {
    const limit = method.rankLimit?.(config, layer)
    const rank = rankOf(config, layer)
    return limit && rank > limit.most ? [{ rank, ...limit }] : []
  })
  const sentence = ({ rank, most, of }: (typeof beyond)[number]) => `Rank ${rank} is more than the ${most} ${of}`
  const refused = beyond.find((limit) => limit.refused)
  if (refused) throw new UsageError('invalid-rank', `${sentence(refused)}.`)
  const [first] = beyond
  if (!first) return []
  return [`${sentence(first)}; ${beyond.length} of ${layers.length} layers gain nothing from such a rank.`]
}

/** @throws UsageError `invalid-rank` if no layer can use its rank, and the layers have fewer values than the adapter */
export function requireFewerThanWeights(config: AdapterConfigBase, layers: readonly LayerFacts[]): void {
  const method = adapterMethod(config.method)
  const limits = layers.map((layer) => method.rankLimit?.(config, layer).most ?? Number.POSITIVE_INFINITY)
  const trained = layers.reduce((sum, layer) => sum + countParameters(method, config, layer), 0)
  const weights = layers.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures * outFeatures, 0)
  if (trained <= weights || layers.some((layer, i) => rankOf(config, layer) <= limits[i]!)) return
  throw new UsageError(
    'invalid-rank',
    `Rank ${config.rank} would train ${trained} values in place of the ${weights} of the layers it is for: use a rank of at most ${Math.max(...limits)}, or the method full.`,
  )
}

/** Values are float32; products of 16-bit activations read copies. */
const bytesOfCopies = (values: number, dtype: FloatDType): number => (dtype === 'float32' ? 0 : 2 * values)
