import { readProvenance } from '../../adapters/files/adapter-folder.js'
import { requireSameBase } from '../../adapters/files/same-base.js'
import type { HubOptions } from '../../hub/index.js'
import { QUANTISE_FORMATS } from '../../options/index.js'
import { ModelSource } from '../checkpoint/model-source.js'
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
