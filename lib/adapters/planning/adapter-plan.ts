import { UsageError } from '../../common/errors.js'
import { elementsOf, type FloatDType } from '../../native/addon.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import { type BaseModel, requireUntied } from '../contract/base-model.js'
import { requireUsedPatterns, selectTargets } from '../contract/patterns.js'
import { selectModules } from '../files/modules-to-save.js'
import { requireTrainable } from '../registry.js'
import { type AdapterCost, adapterCost, rankNotes } from './adapter-cost.js'

/** The plan of a new adapter. */
interface AdapterPlan<L extends LayerFacts> {
  readonly targets: readonly L[]
  readonly modules: ReturnType<typeof selectModules>
  readonly cost: AdapterCost
  /** Notes about its ranks. */
  readonly notes: readonly string[]
}

/**
 * Plans an adapter for a model with activations of `dtype`: its layers and its cost; nothing is made. Throws a UsageError if it
 * cannot be made.
 */
export function planAdapter<L extends LayerFacts>(
  config: AdapterConfigBase,
  layers: readonly L[],
  base: BaseModel,
  { dtype, restarts }: { dtype: FloatDType; restarts?: boolean },
): AdapterPlan<L> {
  const modules = selectModules(config.modulesToSave, base)
  const targets = targetLayers(config, layers, base, modules.weights)
  const whole = modules.weights.reduce((sum, name) => sum + elementsOf(base.weights.get(name)!), 0)
  const cost = adapterCost(config, targets, { dtype, whole, restarts })
  return { targets, modules, cost, notes: rankNotes(config, targets) }
}

/**
 * Returns the layers of a new adapter: its targets, except layers whose weights are among `whole`, which are
 * trained themselves. Throws a UsageError if there are none, if the method does not support one, and for patterns that match
 * none.
 */
function targetLayers<L extends LayerFacts>(
  config: AdapterConfigBase,
  layers: readonly L[],
  base: BaseModel,
  whole: readonly string[],
): L[] {
  requireUntied(config.targetModules, base)
  const targets = selectTargets(config.targetModules, layers).filter(({ name }) => !whole.includes(`${name}.weight`))
  if (targets.length === 0) {
    throw new UsageError('no-target', 'All target modules are trained whole.')
  }
  for (const layer of targets) requireTrainable(config, layer)
  requireUsedPatterns(config, targets)
  return targets
}
