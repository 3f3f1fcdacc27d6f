/** The content of an adapter's folder. */
import { UsageError } from '../../common/errors.js'
import type { Pooling } from '../../nn/pooling.js'
import type { AdapterConfigBase, StoredTensor } from '../contract/adapter.js'

/**
 * This package's own entries about an adapter. They are stored under `node_mora` in the metadata of the weights' file, since
 * the reference refuses an `adapter_config.json` with an unknown entry.
 */
export interface AdapterProvenance {
  /** Identity of the base model that the adapter was trained on. */
  readonly baseHash?: string
  /** The format of that model's values. */
  readonly baseFormat?: string
  /** Identity of the chat template that its rows were rendered with. */
  readonly templateHash?: string
  /** Names of the labels of the head that it trained. */
  readonly labels?: readonly string[]
  /** How it was trained to pool states to embeddings. */
  readonly pooling?: Pooling
}

/** A table of embeddings or a head that a file has beside the modules that it trained. */
export interface TableCopy {
  /** The name of the weight. */
  readonly weight: string
  readonly tensor: StoredTensor
  /** Whether it is what the base had before the module was trained. */
  readonly isOriginal: boolean
}

export interface StoredAdapter {
  readonly folder: string
  readonly config: AdapterConfigBase
  readonly provenance: AdapterProvenance
  /** Names of the layers in the file. */
  readonly layers: readonly string[]
  /** Tensors of modules that were trained whole, by the names of the weights that they replace. */
  readonly modules: ReadonlyMap<string, StoredTensor>
  readonly copies: readonly TableCopy[]
  /** Whether the file may leave out layers that its targets name. */
  readonly narrowed: boolean
  /** Whether tied weights were trained as one although only one of them is in the file. */
  readonly tiesWeights: boolean
  /** Whether it is for layers whose weights are stored as [in, out] (GPT-2's Conv1D). */
  readonly fanInFanOut: boolean
  /** Every tensor by its full name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

export function unfitAdapter({ folder }: StoredAdapter, why: string): UsageError {
  return new UsageError('unfit-adapter', `The adapter ${folder} does not fit the model: ${why}.`)
}

/** How an adapter's file names its base model. */
export interface BaseName {
  /** A path as the user gave it, without folders of this machine; or a hub id. */
  readonly name: string
  /** Commit of a hub id; else null. */
  readonly revision: string | null
}
