import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import { selectTargets } from '../contract/patterns.js'
import { newAdapterConfig } from '../new-adapter.js'
import { ADAPTER_METHODS, adapterMethod } from '../registry.js'
import { countParameters } from '../tensors/declared-tensors.js'

/** Returns the number of trained values of an adapter for the layers that its targets select, without making it. */
export function countAdapterParameters(config: AdapterConfigBase, layers: readonly LayerFacts[]): number {
  const method = adapterMethod(config.method)
  return selectTargets(config.targetModules, layers).reduce(
    (sum, layer) => sum + countParameters(method, config, layer),
    0,
  )
}

/**
 * Returns the rank at which an adapter with these options has the number of trained values closest to that of `budget`, a
 * method and a rank such as `lora:8` for the same layers; the lower one if two are equally close.
 * @throws UsageError `invalid-budget` for a malformed budget
 */
export function matchingRank(
  budget: string,
  method: string,
  options: Readonly<Record<string, unknown>>,
  layers: readonly LayerFacts[],
): number {
  const [, name, rankText] = /^([a-z-]+):([1-9]\d*)$/.exec(budget) ?? []
  const reference = ADAPTER_METHODS.find((candidate) => candidate === name)
  if (reference === undefined) {
    throw new UsageError(
      'invalid-budget',
      `Expected METHOD:RANK as lora:8 for ${optionName('matchParametersOf')} but received ${budget}; methods: ${ADAPTER_METHODS.join(', ')}.`,
    )
  }
  const { targetModules } = options
  const wanted = countAdapterParameters(newAdapterConfig(reference, { targetModules, rank: Number(rankText) }), layers)
  const countAt = (rank: number): number =>
    countAdapterParameters(newAdapterConfig(method, { ...options, rank }), layers)
  const most = Math.max(...layers.map(({ inFeatures, outFeatures }) => Math.max(inFeatures, outFeatures)))
  if (countAt(1) > countAt(most)) {
    const ranks = Array.from({ length: most }, (_, i) => i + 1)
    const distances = ranks.map((rank) => Math.abs(countAt(rank) - wanted))
    return ranks[distances.indexOf(Math.min(...distances))]!
  }
  // Bisects for the least rank with at least as many: unless counts fall, they grow with the rank.
  let [low, high] = [1, most]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (countAt(middle) >= wanted) high = middle
    else low = middle + 1
  }
  return low > 1 && wanted - countAt(low - 1) <= countAt(low) - wanted ? low - 1 : low
}
