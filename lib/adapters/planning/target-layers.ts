import { UsageError } from '../../common/errors.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import { type BaseModel, requireUntied } from '../contract/base-model.js'
import { requireUsedPatterns, selectTargets } from '../contract/patterns.js'
import { requireTrainable } from '../registry.js'

/**
 * Returns the layers of a new adapter: those that its targets select, except those whose weights are among `whole`, which are
 * trained themselves. Throws a UsageError if there are none, if the method does not support one, and for patterns that match
 * none.
 */
export function targetLayers<L extends LayerFacts>(
  config: AdapterConfigBase,
  layers: readonly L[],
  base: BaseModel,
  whole: readonly string[],
): L[] {
  requireUntied(config.targetModules, base)
  const targets = selectTargets(config.targetModules, layers).filter(({ name }) => !whole.includes(`${name}.weight`))
  if (targets.length === 0) {
    throw new UsageError('no-target', 'All target modules are among those that are trained whole.')
  }
  for (const layer of targets) requireTrainable(config, layer)
  requireUsedPatterns(config, targets)
  return targets
}
