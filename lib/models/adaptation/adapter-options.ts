/** Options of what is done with a model's adapters, and what they have to be. */
import type { AdapterConfigBase } from '../../adapters/contract/adapter.js'
import { aFlag, aFunction, aSignal, optional, requireOptionsOf, wholeFrom } from '../../common/arguments.js'
import { type HubOptions, hubKinds } from '../../hub/index.js'

/** Options of `Model.addAdapter`. */
export interface AddAdapterOptions {
  /** The seed of initial values, default 0. */
  seed?: number
  /** Hears of ranks that are higher than layers have a use for. */
  onWarning?: (message: string) => void
}

export function requireAddOptions(options: AddAdapterOptions): void {
  requireOptionsOf('the options of addAdapter', options, {
    seed: optional(wholeFrom(0)),
    onWarning: optional(aFunction),
  })
}

/** Options of `Model.loadAdapter`. */
export interface LoadAdapterOptions extends HubOptions {
  /** Also load an adapter that was trained on another base; from then on it belongs to this one. */
  allowOtherBase?: boolean
}

export function requireLoadOptions(options: LoadAdapterOptions): void {
  requireOptionsOf('the options of loadAdapter', options, { allowOtherBase: optional(aFlag), ...hubKinds })
}

/** Options of `Model.saveAdapter`. */
export interface SaveAdapterOptions {
  /** Without, as an adapter that trains no modules whole. Default true. */
  modules?: boolean
}

export function requireSaveOptions(options: SaveAdapterOptions): void {
  requireOptionsOf('the options of saveAdapter', options, { modules: optional(aFlag) })
}

/** Options of `Model.mergeAdapter`. */
export interface MergeAdapterOptions {
  /** Aborting it ends the merging between two weights, with the signal's reason; nothing is changed then. */
  signal?: AbortSignal
}

export function requireMergeOptions(options: MergeAdapterOptions): void {
  requireOptionsOf('the options of mergeAdapter', options, { signal: optional(aSignal) })
}

/** Options of `Model.restartAdapter`. */
export interface RestartOptions {
  /** What the adapter is from then on, by default what it is; its targets and modules stay. */
  config?: AdapterConfigBase
  /** The seed of initial values, default 0. */
  seed?: number
  /** Without, what the adapter had learnt is forgotten. Default true. */
  merge?: boolean
}

export function requireRestartOptions(options: RestartOptions): void {
  requireOptionsOf('the options of restartAdapter', options, {
    seed: optional(wholeFrom(0)),
    merge: optional(aFlag),
  })
}
