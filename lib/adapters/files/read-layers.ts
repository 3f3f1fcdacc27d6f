import { about } from '../../common/errors.js'
import { asMessage } from '../../common/printable.js'
import type { HubOptions } from '../../hub/index.js'
import type { NativeDevice } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Parameter } from '../../tensor/parameter.js'
import { pauseBeside, runStepsInTurns, type Steps } from '../../tensor/steps.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, LayerFacts } from '../contract/adapter.js'
import { type BaseModel, moduleInModel, requireUntied, SCORE_WEIGHT, withLabels } from '../contract/base-model.js'
import { fittingTargets, isTarget, requireQuickPatterns, selectTargets } from '../contract/patterns.js'
import { continuedBy } from '../new-adapter.js'
import { adapterMethod, requireForm } from '../registry.js'
import { LayerMaker } from '../tensors/layer-maker.js'
import { layerTensors, readAdapterFolder } from './adapter-folder.js'
import { modulesOfAdapter, requireSameTables, trainedWeight } from './modules-to-save.js'
import { type AdapterProvenance, requireSameBase, type StoredAdapter, unfitAdapter } from './stored-adapter.js'

export interface LoadedAdapter<L extends LayerFacts> {
  config: AdapterConfigBase
  provenance: AdapterProvenance
  layers: Map<L, LayerAdapter>
  /** Weights that were trained whole, by the names of the weights that they replace. */
  modules: Map<string, Parameter>
  /** Names of the labels of a head that it brings to a model without one. */
  labels?: readonly string[]
}

interface ReadAdapterOptions extends HubOptions {
  device: NativeDevice
  /** The adapter's name in the model. */
  adapter: string
  /** Accept an adapter that was trained on another base; from then on it belongs to this one. */
  allowOtherBase?: boolean
  /** The method to train it by, if that is not the file's. */
  as?: Parameters<typeof continuedBy>[0]
}

/** Layers that are made between two turns of the event loop. */
const LAYERS_A_STEP = 8

/**
 * Reads an adapter's folder and makes its parts: one for each of the model's layers that it targets, and modules trained whole.
 * @throws UsageError `unfit-adapter` if it has layers that the model lacks, lacks layers that it targets, or has other
 * shapes, `other-base` if it was trained on another base; and what `readAdapterFolder` throws
 */
export async function readAdapterLayers<L extends LayerFacts>(
  folder: string,
  linears: readonly L[],
  base: BaseModel,
  options: ReadAdapterOptions,
): Promise<LoadedAdapter<L>> {
  const { device, adapter: _, allowOtherBase: __, as, ...hub } = options
  const read = await readAdapterFolder(folder, hub, device, (module) => moduleInModel(module, base))
  const stored = as ? { ...read, config: continuedBy(as, read.config, folder) } : read
  try {
    await requireSameTables(stored, base)
    return await runStepsInTurns(layersOf(stored, linears, base, options), { pause: pauseBeside(device) })
  } catch (error) {
    throw about(folder, error)
  }
}

/** Makes the layers in steps: texts that the model generates meanwhile wait for none of them for long. */
function* layersOf<L extends LayerFacts>(
  read: StoredAdapter,
  linears: readonly L[],
  model: BaseModel,
  { device, adapter, allowOtherBase = false, onWarning }: ReadAdapterOptions,
): Steps<LoadedAdapter<L>> {
  const { stored, towers } = withoutTowers(read, model)
  const { folder } = stored
  const labels = labelsOf(stored, model)
  const base = labels ? withLabels(model, labels) : model
  requireQuickPatterns(
    stored.config,
    linears.map(({ name }) => name),
    folder,
  )
  const byName = new Map(linears.map((linear) => [linear.name, linear]))
  requireUntied(stored.layers, base)
  const foreign = stored.layers.filter((layer) => !byName.has(layer))
  if (foreign.length > 0)
    throw unfitAdapter(stored, `it has ${foreign.length} layers that the model lacks, such as ${foreign[0]}`)
  if (stored.fanInFanOut && base.transposed.size === 0)
    throw unfitAdapter(stored, 'it is for layers whose weights are stored as [in, out] (fan_in_fan_out)')
  const { names, tensors } = modulesOfAdapter(stored, base)
  // As in PEFT, one matching target is enough.
  const { fitting, unmatched } = fittingTargets(stored.config.targetModules, linears)
  const missing = selectTargets(fitting, linears).filter(
    ({ name }) => !stored.layers.includes(name) && !tensors.has(`${name}.weight`),
  )
  if (fitting !== 'all-linear' && missing.length > 0 && !stored.narrowed)
    throw unfitAdapter(
      stored,
      `it targets ${missing.length} layers for which it has no tensors, such as ${missing[0]!.name}`,
    )
  const inTowers = (target: string) => towers.some((layer) => isTarget([target], layer))
  const lacking = unmatched.filter((target) => !inTowers(target))
  if (lacking.length > 0)
    onWarning?.(asMessage(`The adapter ${folder} also targets ${lacking.join(', ')}, which the model lacks.`))
  if (towers.length > 0) {
    const what = `${towers.length} layers outside of the text model, such as ${towers[0]}`
    const effect = 'they are left out, which changes nothing for texts, and merging leaves the towers as they are'
    onWarning?.(asMessage(`The adapter ${folder} also has ${what}: ${effect}.`))
  }
  const targetModules = missing.length > 0 ? stored.layers : fitting
  const config: AdapterConfigBase = { ...stored.config, targetModules, modulesToSave: names }
  if (!allowOtherBase) requireSameBase(folder, stored.provenance, base)
  const layerFacts = stored.layers.map((name) => byName.get(name)!)
  const maker = new LayerMaker(adapterMethod(config.method), config, layerFacts)
  const layers = new Map<L, LayerAdapter>()
  const modules = new Map<string, Parameter>()
  try {
    for (const [i, name] of stored.layers.entries()) {
      const layer = byName.get(name)!
      requireForm(config, layer)
      layers.set(layer, maker.read({ layer, device, adapter }, layerTensors(stored, name)))
      if (i % LAYERS_A_STEP === LAYERS_A_STEP - 1) yield
    }
    for (const [name, { values, shape }] of tensors)
      modules.set(name, trainedWeight(name, Tensor.from(values, shape, { device })))
  } catch (error) {
    disposeLoaded({ layers, modules })
    throw error
  }
  const { baseHash, baseFormat, ...elsewhere } = stored.provenance
  return { config, provenance: allowOtherBase ? elsewhere : stored.provenance, layers, modules, labels }
}

/** Frees the layers and modules of an adapter. */
export function disposeLoaded({ layers, modules }: Pick<LoadedAdapter<LayerFacts>, 'layers' | 'modules'>): void {
  for (const part of [...layers.values(), ...modules.values()]) part.dispose()
}

/** Returns an adapter of a wrapped text model without the layers of towers and projectors, and the names of these. */
function withoutTowers(stored: StoredAdapter, { others }: BaseModel) {
  // Checkpoints and adapters are both found with and without the prefix.
  const inTower = (layer: string) =>
    [layer, `model.${layer}`, layer.replace(/^model\./, '')].some((name) => others?.has(`${name}.weight`))
  const layers = stored.layers.filter((layer) => !inTower(layer))
  if (layers.length === 0) return { stored, towers: [] }
  return { stored: { ...stored, layers }, towers: stored.layers.filter(inTower) }
}

/** Returns the labels of an adapter's head if the model has none; throws if they are not the model's. */
function labelsOf(stored: StoredAdapter, { labels }: BaseModel): readonly string[] | undefined {
  const head = stored.modules.get(SCORE_WEIGHT)
  const { labels: named } = stored.provenance
  if (named && labels && named.join('\n') !== labels.join('\n'))
    throw unfitAdapter(stored, `its labels are ${named.join(', ')}, and the model's ${labels.join(', ')}`)
  if (!head || labels) return undefined
  if (named && named.length !== head.shape[0])
    throw unfitAdapter(stored, `it names ${named.length} labels, and its head has ${head.shape[0]}`)
  return named ?? Array.from({ length: head.shape[0]! }, (_, i) => `LABEL_${i}`)
}
