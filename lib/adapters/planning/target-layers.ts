import { UsageError } from '../../common/errors.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import { type BaseModel, requireUntied } from '../contract/base-model.js'
import { requireUsedPatterns, selectTargets } from '../contract/patterns.js'
import { requireTrainable } from '../registry.js'

/**
 * The layers that a new adapter goes to: those that its targets select, less those whose weights are among `whole`, which
 * are trained themselves. Throws a UsageError where there are none, where the method has no form for one, and of patterns
 * that fit none.
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
    throw new UsageError('no-target', 'Every target module is among those that are trained whole.')
  }
  for (const layer of targets) requireTrainable(config, layer)
  requireUsedPatterns(config, targets)
  return targets
}
