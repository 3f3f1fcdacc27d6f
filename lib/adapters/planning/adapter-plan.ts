import { elementsOf, type FloatDType } from '../../native/addon.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import type { BaseModel } from '../contract/base-model.js'
import { type SelectedModules, selectModules } from '../files/modules-to-save.js'
import { type AdapterCost, adapterCost, rankNotes } from './adapter-cost.js'
import { targetLayers } from './target-layers.js'

/** A new adapter before it is made. */
export interface AdapterPlan<L extends LayerFacts> {
  readonly targets: readonly L[]
  readonly modules: SelectedModules
  readonly cost: AdapterCost
  /** What to know of its ranks. */
  readonly notes: readonly string[]
}

/**
 * Where an adapter of a configuration would go in a model whose activations are of `dtype`, and what it would take; nothing
 * is made. Throws a UsageError where it cannot be made.
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
