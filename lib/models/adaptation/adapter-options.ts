/** Arguments of the methods of `Model` that change its adapters: their types, and their schemas. */

import { z } from 'zod'
import type { AdapterConfigBase } from '../../adapters/contract/adapter.js'
import { aFlag, aFunction, aSignal, aText, expecting, optionsSchema, wholeFrom } from '../../common/arguments.js'
import { type HubOptions, hubKinds } from '../../hub/index.js'

/**
 * The adapters of one call, by name, or with another factor of an adapter's contribution than its own; `[]` is the model without
 * adapters.
 */
export type AdapterChoice = readonly (
  | string
  | {
      /** Name of an adapter of the model. */
      readonly name: string
      /** Factor of its contribution: 1 is the adapter as it was trained. */
      readonly scale: number
    }
)[]

export const someAdapters = expecting(
  'a list of names of adapters, or of { name, scale }',
  z.array(z.union([aText, z.strictObject({ name: aText, scale: z.number() })])),
)

/** Options of `Model.addAdapter`. */
export interface AddAdapterOptions {
  /** The seed of initial values, default 0. The seed of a run that trains the adapter does not change them. */
  seed?: number
  /** Called with a note about ranks that are higher than layers can use. */
  onWarning?: (message: string) => void
}

export const addAdapterArguments = {
  name: aText,
  options: optionsSchema('the options of addAdapter', {
    seed: wholeFrom(0).optional(),
    onWarning: aFunction.optional(),
  }),
}

/** Options of `Model.loadAdapter`. */
export interface LoadAdapterOptions extends HubOptions {
  /** Also load an adapter that was trained on another base; from then on it belongs to this one. */
  allowOtherBase?: boolean
  /**
   * Whether it takes part in forward passes from then on that choose no adapters. Default true; false while a run trains the model,
   * whose passes do not change.
   */
  active?: boolean
  /** Another method to train it by, such as `{ method: 'lora-plus', loraPlusRatio: 4 }` for a plain LoRA. Default: its own. */
  as?: {
    /** Name of a method that computes the same from its files. */
    readonly method: string
    /** Options that only this method has; the others are the file's. */
    readonly [option: string]: unknown
  }
}

export const loadAdapterArguments = {
  adapter: expecting('the path or hub id of an adapter', aText),
  name: aText,
  options: optionsSchema('the options of loadAdapter', {
    allowOtherBase: aFlag.optional(),
    active: aFlag.optional(),
    as: optionsSchema('the method to train it by', { method: aText }).optional(),
    ...hubKinds,
  }),
}

/** Options of `Model.saveAdapter`. */
export interface SaveAdapterOptions {
  /** Whether to write the modules that it trains whole too. Default true. */
  modules?: boolean
}

export const saveAdapterArguments = {
  name: aText,
  folder: expecting('the path of a folder', aText),
  options: optionsSchema('the options of saveAdapter', { modules: aFlag.optional() }),
}

/** Options of `Model.mergeAdapter`. */
export interface MergeAdapterOptions {
  /** Aborting it stops the merge between two weights with the signal's reason; nothing is changed then. */
  signal?: AbortSignal
}

export const mergeAdapterArguments = {
  name: aText,
  options: optionsSchema('the options of mergeAdapter', { signal: aSignal.optional() }),
}

/** Options of `Model.restartAdapter`. */
export interface RestartOptions {
  /** The adapter's new configuration, by default its present one; its targets and modules stay. */
  config?: AdapterConfigBase
  /** The seed of initial values, default 0. */
  seed?: number
  /** Whether to merge ΔW into the weights first; otherwise it is discarded. Default true. */
  merge?: boolean
}

export const restartAdapterArguments = {
  name: aText,
  options: optionsSchema('the options of restartAdapter', {
    seed: wholeFrom(0).optional(),
    merge: aFlag.optional(),
  }),
}
