/** The content of an adapter's folder. */
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { Pooling } from '../../nn/pooling.js'
import type { AdapterConfigBase, StoredTensor } from '../contract/adapter.js'
import type { BaseModel } from '../contract/base-model.js'

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
  /** The pooling of states to embeddings in its training. */
  readonly pooling?: Pooling
}

/** An adapter as its files store it. */
export interface StoredAdapter {
  readonly folder: string
  readonly config: AdapterConfigBase
  readonly provenance: AdapterProvenance
  /** Names of the layers in the file. */
  readonly layers: readonly string[]
  /** Tensors of modules that were trained whole, by the names of the weights that they replace. */
  readonly modules: ReadonlyMap<string, StoredTensor>
  /** Tables of embeddings and heads beside the modules that were trained. */
  readonly copies: readonly {
    /** The name of the weight. */
    readonly weight: string
    readonly tensor: StoredTensor
    /** Whether it is the base's, before the module was trained. */
    readonly isOriginal: boolean
  }[]
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

/**
 * Throws if an adapter was trained on another base, as far as both are known. The same weights in another format are another
 * base, too, since their values differ.
 */
export function requireSameBase(
  folder: string,
  { baseHash, baseFormat }: AdapterProvenance,
  base: Pick<BaseModel, 'identity'>,
): void {
  if (baseHash === undefined) return
  const identity = base.identity()
  if (!identity || identity.hash === baseHash) return
  const described = (hash: string, format = 'an unknown format') => `sha256 ${hash.slice(0, 12)}…, ${format}`
  throw new UsageError(
    'other-base',
    `The adapter ${folder} was trained on another base model (${described(baseHash, baseFormat)}) than this one ` +
      `(${described(identity.hash, identity.format)}): use the base that it was trained on, or allow the other one with ${optionName('allowOtherBase')}.`,
  )
}
