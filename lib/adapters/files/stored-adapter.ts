/** What an adapter's folder holds. */
import { UsageError } from '../../common/errors.js'
import type { AdapterConfigBase, StoredTensor } from '../contract/adapter.js'

/**
 * What this package keeps of an adapter beside PEFT's entries. It lies under `node_mora` in the metadata of the weights' file,
 * since the reference refuses an `adapter_config.json` with an entry that it does not know.
 */
export interface AdapterProvenance {
  /** Identity of the base model that the adapter was trained on. */
  readonly baseHash?: string
  /** How that model's values are stored. */
  readonly baseFormat?: string
  /** Identity of the chat template that its rows were rendered with. */
  readonly templateHash?: string
}

export interface StoredAdapter {
  readonly folder: string
  readonly config: AdapterConfigBase
  readonly provenance: AdapterProvenance
  /** Names of the layers in the file. */
  readonly layers: readonly string[]
  /** Tensors of modules that were trained whole, by the names of the weights that they replace. */
  readonly modules: ReadonlyMap<string, StoredTensor>
  /** Whether the file may leave out layers that its targets name. */
  readonly narrowed: boolean
  /** Whether tied weights were trained as one although only one of them is in the file. */
  readonly tiesWeights: boolean
  /** Whether it goes beside layers whose weights are stored as [in, out] (GPT-2's Conv1D). */
  readonly fanInFanOut: boolean
  /** Every tensor by its full name. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

export function unfitAdapter({ folder }: StoredAdapter, why: string): UsageError {
  return new UsageError('unfit-adapter', `The adapter ${folder} does not fit the model: ${why}.`)
}

/** How an adapter's file names its base model. */
export interface BaseName {
  /** A path as the user gave it, of which no folders of this machine are told; or a hub id. */
  readonly name: string
  /** Commit of a hub id; else null. */
  readonly revision: string | null
}
