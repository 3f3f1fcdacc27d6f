/** Counts the parameters of a new adapter with given options, from the shapes of the model's weights alone. */

import { newAdapterConfig } from '../../adapters/new-adapter.js'
import { planAdapter } from '../../adapters/planning/adapter-plan.js'
import { matchingRank } from '../../adapters/planning/parameter-count.js'
import { adapterMethod } from '../../adapters/registry.js'
import { countParameters } from '../../adapters/tensors/declared-tensors.js'
import { baseModelOf } from '../../models/adaptation/base.js'
import { ModelSource } from '../../models/index.js'
import { adaptableLayers } from '../../models/network/plan.js'
import { elementsOf } from '../../native/addon.js'
import { type InspectOptions, newAdapterOptions } from '../../options/index.js'
import { formatCount, formatFacts, formatTable } from '../terminal/format.js'

interface NewAdapterFacts {
  method: string
  /** Null for full training. */
  rank: number | null
  /** Null if the method has no operator. */
  operator: string | number | null
  /** Number of trained values, including modules that are trained whole. */
  parameters: number
  /** Number of all values of the model. */
  modelParameters: number
  layers: { name: string; inFeatures: number; outFeatures: number; parameters: number }[]
  modulesToSave: readonly string[]
}

export async function newAdapterFacts(
  path: string,
  options: InspectOptions,
  onWarning: (message: string) => void,
): Promise<NewAdapterFacts> {
  const source = await ModelSource.open(path, { offline: options.offline, onWarning })
  const base = baseModelOf(source.config, source)
  const modelParameters = [...base.weights.values()].reduce((sum, shape) => sum + elementsOf(shape), 0)
  const { method, rank: given } = newAdapterOptions(options)
  const whole = { modelParameters, modulesToSave: [] }
  if (method === 'full') {
    return { method, rank: null, operator: null, parameters: modelParameters, layers: [], ...whole }
  }
  const linears = adaptableLayers(source.config)
  const { matchParametersOf: budget } = options
  const rank = budget === undefined ? given : matchingRank(budget, method, options, linears)
  const config = newAdapterConfig(method, newAdapterOptions({ ...options, method, rank }))
  const { targets, modules, cost, notes } = planAdapter(config, linears, base, { dtype: 'float32' })
  for (const note of notes) onWarning(note)
  const layers = targets.map((layer) => ({
    name: layer.name,
    inFeatures: layer.inFeatures,
    outFeatures: layer.outFeatures,
    parameters: countParameters(adapterMethod(method), config, layer),
  }))
  return {
    method,
    rank,
    operator: null,
    ...adapterMethod(method).describe?.(config),
    parameters: cost.trained,
    modelParameters,
    layers,
    modulesToSave: modules.names,
  }
}

export function describeNewAdapter(adapter: NewAdapterFacts): string {
  const share = ((100 * adapter.parameters) / adapter.modelParameters).toFixed(2)
  const facts: [string, string][] = [['method', adapter.method]]
  if (adapter.rank !== null) facts.push(['rank', String(adapter.rank)])
  if (adapter.operator !== null) facts.push(['operator', String(adapter.operator)])
  facts.push(['trained', `${formatCount(adapter.parameters)} parameters, ${share} % of the model's`])
  if (adapter.modulesToSave.length > 0) facts.push(['trained whole', adapter.modulesToSave.join(', ')])
  if (adapter.layers.length === 0) return formatFacts(facts)
  const rows = adapter.layers.map(({ name, inFeatures, outFeatures, parameters }) => [
    name,
    inFeatures,
    outFeatures,
    parameters,
  ])
  return `${formatFacts(facts)}\n\n${formatTable(['layer', 'in', 'out', 'trained'], rows)}`
}
