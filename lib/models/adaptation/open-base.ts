import type { LayerFacts } from '../../adapters/contract/adapter.js'
import type { BaseModel } from '../../adapters/contract/base-model.js'
import { readProvenance } from '../../adapters/files/adapter-folder.js'
import { type LoadedAdapter, readAdapterLayers } from '../../adapters/files/read-layers.js'
import { requireSameBase } from '../../adapters/files/same-base.js'
import type { HubOptions } from '../../hub/index.js'
import type { NativeDevice } from '../../native/addon.js'
import { QUANTISE_FORMATS } from '../../options/index.js'
import { adaptableLayers } from '../network/plan.js'
import { ModelSource } from '../read/model-source.js'
import { baseModelOf } from './base-of-adapters.js'

/**
 * The model that an adapter is merged into, or compared with: where the adapter was trained beside floats that were quantised while
 * they were loaded, these are quantised again, and only then is it the base.
 */
export async function openBase(model: string, adapter: string, hub: HubOptions): Promise<ModelSource> {
  const source = await ModelSource.open(model, hub)
  source.requireWeights()
  const { baseHash, baseFormat } = await readProvenance(adapter, hub)
  const format = QUANTISE_FORMATS.find((known) => known === baseFormat)
  const isFloats = source.storedDType().includes('float')
  if (format === undefined || !isFloats || source.identity().hash === baseHash) return source
  const quantised = source.quantisedTo(format)
  return quantised.identity().hash === baseHash ? quantised : source
}

/** An adapter beside its base, of which no weight is loaded; whoever opens it frees it. */
export interface OpenedAdapter extends LoadedAdapter<LayerFacts>, Disposable {
  readonly source: ModelSource
  readonly base: BaseModel
}

/** Opens a model as `openBase` does, and reads the adapter. @throws what `openBase` and `readAdapterLayers` throw */
export async function openAdapter(
  model: string,
  device: NativeDevice,
  { adapter, allowOtherBase, offline, onDownload, onWarning, signal }: HubOptions & ComingAdapter & { adapter: string },
): Promise<OpenedAdapter> {
  const hub = { offline, onDownload, onWarning, signal }
  const source = await openBase(model, adapter, hub)
  const base = baseModelOf(source.config, source)
  const reading = { device, adapter, allowOtherBase, ...hub }
  const loaded = await readAdapterLayers(adapter, adaptableLayers(source.config), base, reading)
  return {
    ...loaded,
    source,
    base,
    [Symbol.dispose]() {
      for (const part of [...loaded.layers.values(), ...loaded.modules.values()]) part.dispose()
      source.closeFiles()
    },
  }
}

/** An adapter that is to be loaded on a model. */
export interface ComingAdapter {
  adapter?: string
  allowOtherBase?: boolean
}

/** Refuses an adapter of another base. @throws UsageError `other-base` */
export async function requireBase(
  source: ModelSource,
  { adapter, allowOtherBase = false }: ComingAdapter,
  hub: HubOptions,
): Promise<void> {
  if (adapter === undefined || allowOtherBase) return
  requireSameBase(adapter, await readProvenance(adapter, hub), baseModelOf(source.config, source))
}
