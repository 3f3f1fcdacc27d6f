import type { AdapterConfigBase, LayerFacts } from '../../adapters/contract/adapter.js'
import type { BaseModel } from '../../adapters/contract/base-model.js'
import type { LoadedAdapter } from '../../adapters/files/read-layers.js'
import type { AdapterProvenance } from '../../adapters/files/stored-adapter.js'
import { UsageError } from '../../common/errors.js'
import { type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Linear } from '../../nn/linear.js'
import type { Pooling } from '../../nn/pooling.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Tokenizer } from '../../text/tokenizer.js'
import type { ModelConfig } from '../network/model-config.js'
import type { WeightSlot } from '../network/weight-slot.js'
import type { ModelSource } from '../read/model-source.js'

/** The part of a model that its adapters, its views and its files use. */
export interface AdaptedModel {
  /** The path of the model on this disk; empty for a model with random weights. */
  readonly path: string
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer | null
  readonly device: NativeDevice
  /** The dtype of activations. */
  readonly dtype: FloatDType
  readonly base: BaseModel
  /** Null for a model that was made from random numbers. */
  readonly source: ModelSource | null
  /** Every weight, in the order of the checkpoint. */
  readonly slots: readonly WeightSlot[]
  /** A weight by its name in Hugging Face's checkpoints. */
  slot(name: string): WeightSlot
  /** Pooling of states to embeddings; null if it is unknown. */
  pooling: Pooling | null
  /** Why embeddings cannot be computed as its files say; null: they can. */
  readonly unsupportedPooling: string | null
  /** Rows of at least this many tokens use different rotary angles. */
  readonly longRowsFrom: number
  /** Adds a head of labels. */
  addHead(labels: readonly string[]): void
  /** Every layer that can have an adapter. */
  adaptableLayers(): Linear[]
}

/** Merges an adapter into one weight, in place; adds the number of non-finite results to nonFinite [1]. */
export type WeightEdit = (weight: Tensor, nonFinite: Tensor) => void

/** A module that was trained whole replaces the weight. */
function replacement(trained: Parameter): WeightEdit {
  return (weight, nonFinite) => {
    weight.copyFrom(trained)
    native.countNonFinite(weight.native, nonFinite.native, true)
  }
}

/** Returns the edits that merge a loaded adapter, by the names of weights. */
export function editsOf({
  layers,
  modules,
}: Pick<LoadedAdapter<LayerFacts>, 'layers' | 'modules'>): Map<string, WeightEdit> {
  const edits = new Map<string, WeightEdit>()
  for (const [{ name }, layer] of layers)
    edits.set(`${name}.weight`, (weight, nonFinite) => layer.mergeInto(weight, 1, nonFinite))
  for (const [name, parameter] of modules) edits.set(name, replacement(parameter))
  return edits
}

/** One adapter of a model, and whether it is active. */
export class ModelAdapter {
  provenance: AdapterProvenance
  /** Weights that are trained whole. */
  readonly modules: ReadonlyMap<WeightSlot, Parameter>
  /** The edits that merge it, by weight. */
  readonly edits: ReadonlyMap<WeightSlot, WeightEdit>
  /** The edits of its layers. */
  readonly layerEdits: ReadonlyMap<WeightSlot, WeightEdit>
  #config: AdapterConfigBase
  #layers: ReadonlyMap<Linear, LayerAdapter>
  #active = false
  #merged = false
  #scale = 1

  constructor(
    readonly name: string,
    { config, provenance, layers, modules }: LoadedAdapter<Linear>,
    slot: (weight: string) => WeightSlot,
  ) {
    this.#config = config
    this.provenance = provenance
    this.#layers = layers
    this.modules = new Map([...modules].map(([weight, parameter]) => [slot(weight), parameter]))
    const layerEdits = new Map<WeightSlot, WeightEdit>()
    for (const [linear, layer] of layers) {
      linear.adapters.set(name, { layer, active: false, scale: 1 })
      layerEdits.set(slot(`${linear.name}.weight`), (weight, nonFinite) => {
        const attached = linear.adapters.get(name)!
        attached.layer.mergeInto(weight, attached.scale, nonFinite)
      })
    }
    this.layerEdits = layerEdits
    const moduleEdits = [...this.modules].map(([at, parameter]) => [at, replacement(parameter)] as const)
    this.edits = new Map([...layerEdits, ...moduleEdits])
  }

  get config(): AdapterConfigBase {
    return this.#config
  }

  get layers(): ReadonlyMap<Linear, LayerAdapter> {
    return this.#layers
  }

  /** Replaces its layers by others beside the same weights, and frees the old ones; modules trained whole stay. */
  replaceLayers(config: AdapterConfigBase, layers: ReadonlyMap<Linear, LayerAdapter>): void {
    for (const [linear, layer] of layers) {
      const attached = linear.adapters.get(this.name)!
      attached.layer.dispose()
      linear.adapters.set(this.name, { ...attached, layer })
    }
    this.#config = config
    this.#layers = layers
  }

  /** Whether it takes part in forward passes; while it is merged, its part is in the weights. */
  get active(): boolean {
    return this.#active
  }

  set active(active: boolean) {
    if (active === this.#active) return
    this.#active = active
    this.#update()
  }

  get merged(): boolean {
    return this.#merged
  }

  set merged(merged: boolean) {
    this.#merged = merged
    this.#update()
  }

  /** Factor of its contribution. */
  get scale(): number {
    return this.#scale
  }

  set scale(scale: number) {
    if (scale === this.#scale) return
    this.#scale = scale
    for (const linear of this.layers.keys()) linear.adapters.get(this.name)!.scale = scale
  }

  dispose(): void {
    this.active = false
    for (const [linear, layer] of this.layers) {
      linear.adapters.delete(this.name)
      layer.dispose()
    }
    for (const parameter of this.modules.values()) parameter.dispose()
  }

  #update(): void {
    const takesPart = this.#active && !this.#merged
    for (const linear of this.layers.keys()) linear.adapters.get(this.name)!.active = takesPart
    for (const [slot, parameter] of this.modules) {
      const standsIn = slot.current.parameter === parameter
      if (takesPart !== standsIn) slot.standIn(takesPart ? parameter : null)
    }
  }
}

/** Throws if another adapter changes a weight that one of them trains whole. */
export function requireApart(adapters: readonly ModelAdapter[]): void {
  for (const { name, modules } of adapters) {
    for (const slot of modules.keys()) {
      const other = adapters.find((candidate) => candidate.name !== name && candidate.edits.has(slot))
      if (!other) continue
      throw new UsageError(
        'shared-module',
        `Adapter ${name} trains ${slot.name} whole, and adapter ${other.name} changes it too: only one of them can be active or merged.`,
      )
    }
  }
}
