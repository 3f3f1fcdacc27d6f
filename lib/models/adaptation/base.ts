/** A model as the base of adapters: its identity, opening it beside an adapter, and writing adapters that belong to it. */
import type { AdapterConfigBase, LayerFacts, TensorToStore } from '../../adapters/contract/adapter.js'
import type { BaseModel } from '../../adapters/contract/base-model.js'
import { readProvenance, writeAdapterFolder } from '../../adapters/files/adapter-folder.js'
import { moduleNamesInFile } from '../../adapters/files/modules-to-save.js'
import { type LoadedAdapter, readAdapterLayers } from '../../adapters/files/read-layers.js'
import { type AdapterProvenance, requireSameBase } from '../../adapters/files/stored-adapter.js'
import { type HubOptions, requireHashes } from '../../hub/index.js'
import { sharedName } from '../../io/paths.js'
import type { NativeDevice } from '../../native/addon.js'
import { type Tensor, transposedView } from '../../tensor/tensor.js'
import type { QuantiseFormat } from '../formats.js'
import type { ModelConfig } from '../network/model-config.js'
import { adaptableLayers, transposedWeights, weightShapes } from '../network/plan.js'
import { ModelSource } from '../read/model-source.js'

/** A model as adapters see it. */
export function baseModelOf(config: ModelConfig, source: ModelSource | null): BaseModel {
  const { network, tiedEmbeddings, hiddenSize, labels, text } = config
  return {
    weights: source?.shapes ?? weightShapes(config),
    ties: new Map(tiedEmbeddings && !labels ? [[`${network.head}.weight`, `${network.embeddings}.weight`]] : []),
    transposed: transposedWeights(network),
    hiddenSize,
    labels: labels ?? null,
    textPrefix: text ? network.basePrefix : null,
    others: new Set(source?.kept.map(({ name }) => name)),
    values: source ? (weight) => source.values(weight) : undefined,
    identity: () => source?.identity() ?? null,
  }
}

interface BaseOptions extends HubOptions {
  /** An adapter that comes with the model: a path or hub id. One of another base is refused before the model takes memory. */
  adapter?: string | undefined
  /** Accept an adapter that was trained on another base. */
  allowOtherBase?: boolean | undefined
  /** The format that floats are quantised to; default: the format that the adapter was trained beside, if any; null: none. */
  quantise?: QuantiseFormat | null | undefined
}

/**
 * Opens a model and checks its weights. If its adapter was trained beside weights that were quantised on loading, they are
 * quantised again, since only then is it the same base.
 * @throws UsageError `other-base` where the adapter was trained on another one
 */
export async function openBase(
  model: string,
  { adapter, allowOtherBase = false, quantise, ...hub }: BaseOptions,
): Promise<ModelSource> {
  const stored = await ModelSource.open(model, hub)
  if (stored.located.ollama) await requireHashes(stored.located.ollama, hub.signal)
  const opened = quantise ? stored.quantisedTo(quantise) : stored
  opened.requireWeights()
  if (adapter === undefined) return opened
  const provenance = await readProvenance(adapter, hub)
  const { baseHash: hash, baseFormat: format } = provenance
  const source = quantise === undefined ? opened.quantisedAs({ hash, format }) : opened
  if (!allowOtherBase) requireSameBase(adapter, provenance, source)
  return source
}

/** An adapter and its base, none of whose weights are loaded; the caller disposes it. */
interface OpenedAdapter extends LoadedAdapter<LayerFacts>, Disposable {
  readonly source: ModelSource
  readonly base: BaseModel
}

/** Opens a model as `openBase` does, and reads the adapter. @throws what `openBase` and `readAdapterLayers` throw */
export async function openAdapter(
  model: string,
  device: NativeDevice,
  {
    adapter,
    allowOtherBase,
    offline,
    onDownload,
    onWarning,
    signal,
  }: Omit<BaseOptions, 'quantise'> & { adapter: string },
): Promise<OpenedAdapter> {
  const reading = { adapter, allowOtherBase, offline, onDownload, onWarning, signal }
  const source = await openBase(model, reading)
  const base = baseModelOf(source.config, source)
  const loaded = await readAdapterLayers(adapter, adaptableLayers(source.config), base, { ...reading, device })
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

/** An adapter that is about to be written to its folder. */
interface AdapterToSave {
  readonly config: AdapterConfigBase
  /** The tensors of each layer, by its module path. */
  readonly tensors: ReadonlyMap<string, readonly TensorToStore[]>
  /** Modules that were trained whole, by the names of the weights that they replace. */
  readonly modules: ReadonlyMap<string, Tensor>
  readonly provenance: AdapterProvenance
}

/** Writes an adapter of a base in PEFT's layout: modules as the base's checkpoints store them, under all of their names. */
export async function saveAdapter(
  { base, source }: { readonly base: BaseModel; readonly source: ModelSource | null },
  { config, tensors, modules, provenance }: AdapterToSave,
  folder: string,
): Promise<void> {
  const stored = [...modules].map(
    ([name, values]) => [name, base.transposed.has(name) ? transposedView(values) : values.view(values.shape)] as const,
  )
  const files = new Map(stored.flatMap(([name, view]) => moduleNamesInFile(name, base).map((file) => [file, view])))
  try {
    await writeAdapterFolder(folder, config, tensors, files, {
      // As PEFT does: the last part of an absolute path.
      base: source?.origin
        ? { name: source.origin.id, revision: source.origin.revision }
        : { name: sharedName(source?.located.reference ?? ''), revision: null },
      provenance,
      fanInFanOut: base.transposed.size > 0,
      textPrefix: base.textPrefix,
    })
  } finally {
    for (const [, view] of stored) view.dispose()
  }
}
