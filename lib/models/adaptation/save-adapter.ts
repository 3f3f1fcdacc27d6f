import type { AdapterConfigBase, TensorToStore } from '../../adapters/contract/adapter.js'
import { writeAdapterFolder } from '../../adapters/files/adapter-folder.js'
import { namesInFile } from '../../adapters/files/modules-to-save.js'
import type { AdapterProvenance } from '../../adapters/files/stored-adapter.js'
import { type Tensor, transposedView } from '../../tensor/tensor.js'
import type { AdaptedModel } from './adapted-model.js'
import { baseName } from './base-of-adapters.js'

/** An adapter on its way to its folder. */
export interface AdapterToSave {
  readonly config: AdapterConfigBase
  /** The tensors of each layer, by its module path. */
  readonly tensors: ReadonlyMap<string, readonly TensorToStore[]>
  /** Modules that were trained whole, by the names of the weights that they replace. */
  readonly modules: ReadonlyMap<string, Tensor>
  readonly provenance: AdapterProvenance
}

/** Writes an adapter of a base in PEFT's layout: modules as the base's checkpoints store them, under all of their names. */
export async function saveAdapter(
  { base, source }: Pick<AdaptedModel, 'base' | 'source'>,
  { config, tensors, modules, provenance }: AdapterToSave,
  folder: string,
): Promise<void> {
  const stored = [...modules].map(
    ([name, values]) => [name, base.transposed.has(name) ? transposedView(values) : values.view(values.shape)] as const,
  )
  const files = new Map(stored.flatMap(([name, view]) => namesInFile(name, base).map((file) => [file, view])))
  try {
    await writeAdapterFolder(folder, config, tensors, files, {
      base: baseName(source),
      provenance,
      fanInFanOut: base.transposed.size > 0,
    })
  } finally {
    for (const [, view] of stored) view.dispose()
  }
}
