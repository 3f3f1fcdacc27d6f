import type { AdapterConfigBase } from '../adapters/adapter.js'
import type { AdapterProvenance } from '../adapters/adapter-folder.js'
import type { LoadedAdapter } from '../adapters/read-layers.js'
import type { LayerAdapter } from '../nn/layer-adapter.js'
import type { Linear } from '../nn/linear.js'
import type { Parameter } from '../tensor/parameter.js'
import { replacement, type WeightEdit } from './weight-edit.js'
import type { WeightSlot } from './weight-slot.js'

/** One adapter of a model, and whether it takes part. */
export class ModelAdapter {
  readonly config: AdapterConfigBase
  provenance: AdapterProvenance
  readonly layers: ReadonlyMap<Linear, LayerAdapter>
  /** Weights that are trained whole. */
  readonly modules: ReadonlyMap<WeightSlot, Parameter>
  /** What merging it does, by weight. */
  readonly edits: ReadonlyMap<WeightSlot, WeightEdit>
  #active = false
  #merged = false

  constructor(
    readonly name: string,
    { config, provenance, layers, modules }: LoadedAdapter<Linear>,
    slot: (weight: string) => WeightSlot,
  ) {
    this.config = config
    this.provenance = provenance
    this.layers = layers
    this.modules = new Map([...modules].map(([weight, parameter]) => [slot(weight), parameter]))
    const edits = new Map<WeightSlot, WeightEdit>()
    for (const [linear, layer] of layers) {
      linear.adapters.set(name, { layer, active: false, scale: 1 })
      edits.set(slot(`${linear.name}.weight`), (weight, nonFinite) =>
        layer.mergeInto(weight, linear.adapters.get(name)!.scale, nonFinite),
      )
    }
    for (const [at, parameter] of this.modules) edits.set(at, replacement(parameter))
    this.edits = edits
  }

  /** Whether it is wanted in forward passes; while it is merged, its part is in the weights. */
  get active(): boolean {
    return this.#active
  }

  set active(active: boolean) {
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

  set scale(scale: number) {
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
      const standsIn = slot.current === parameter
      if (takesPart !== standsIn) slot.standIn(takesPart ? parameter : null)
    }
  }
}
