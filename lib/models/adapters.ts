import type { AdapterConfigBase } from '../adapters/adapter.js'
import {
  type AdapterProvenance,
  layerTensors,
  readAdapterFolder,
  writeAdapterFolder,
} from '../adapters/adapter-folder.js'
import { selectTargets } from '../adapters/patterns.js'
import { adapterMethod } from '../adapters/registry.js'
import { RunError, UsageError } from '../errors.js'
import type { LayerAdapter } from '../nn/layer-adapter.js'
import type { AttachedAdapter, Linear } from '../nn/linear.js'
import { keep, scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { Model } from './model.js'

interface ModelAdapter {
  config: AdapterConfigBase
  provenance: AdapterProvenance
  layers: Map<Linear, LayerAdapter>
}

/** The adapters of a model: added, loaded, switched, merged into the weights and taken out again. */
export class ModelAdapters {
  readonly #adapters = new Map<string, ModelAdapter>()
  /** Names in the order in which they were merged. */
  readonly #merged: string[] = []
  /** Weights before the first merge, where no file has them. */
  readonly #pristine = new Map<Linear, Tensor>()
  #baseHash: string | null = null

  constructor(readonly model: Model) {}

  get configs(): ReadonlyMap<string, AdapterConfigBase> {
    return new Map([...this.#adapters].map(([name, { config }]) => [name, config]))
  }

  activeNames(): string[] {
    return [...this.#adapters.keys()].filter((name) =>
      [...this.#adapters.get(name)!.layers.keys()].some((linear) => linear.adapters.get(name)!.active),
    )
  }

  /** Merged adapters beside one linear layer, in the order of merging. */
  mergedLayers(linear: Linear): AttachedAdapter[] {
    return this.#merged.flatMap((name) => linear.adapters.get(name) ?? [])
  }

  setScale(name: string, scale: number): void {
    const { layers } = this.#get(name)
    if (!Number.isFinite(scale)) throw new UsageError('invalid-scale', `Expected a finite scale but received ${scale}.`)
    if (this.#merged.includes(name))
      throw new UsageError('merged', `Adapter ${name} is merged; unmerge it before scaling it.`)
    for (const linear of layers.keys()) linear.adapters.get(name)!.scale = scale
  }

  add(name: string, config: AdapterConfigBase, seed: number): void {
    this.#requireFree(name)
    const method = adapterMethod(config.method)
    const { device } = this.model
    const layers = new Map<Linear, LayerAdapter>()
    for (const layer of selectTargets(config.targetModules, this.model.linears())) {
      layers.set(layer, method.create(config, { layer, device, adapter: name }, seed))
    }
    this.#attach(name, { config, provenance: {}, layers })
  }

  async load(folder: string, name: string): Promise<AdapterConfigBase> {
    this.#requireFree(name)
    const stored = await readAdapterFolder(folder)
    const { config, provenance } = stored
    const linears = new Map(this.model.linears().map((linear) => [linear.name, linear]))
    const foreign = stored.layers.filter((layer) => !linears.has(layer))
    if (foreign.length > 0) {
      throw new UsageError(
        'unfit-adapter',
        `The adapter ${folder} does not fit the model: it has ${foreign.length} layers that the model lacks, such as ${foreign[0]}.`,
      )
    }
    const missing = selectTargets(config.targetModules, [...linears.values()]).filter(
      ({ name: layer }) => !stored.layers.includes(layer),
    )
    if (config.targetModules !== 'all-linear' && missing.length > 0) {
      throw new UsageError(
        'unfit-adapter',
        `The adapter ${folder} does not fit the model: it targets ${missing.length} layers for which it has no tensors, such as ${missing[0]!.name}.`,
      )
    }
    const method = adapterMethod(config.method)
    const layers = new Map<Linear, LayerAdapter>()
    for (const layer of stored.layers) {
      const linear = linears.get(layer)!
      const options = { layer: linear, device: this.model.device, adapter: name }
      layers.set(linear, method.read(config, options, layerTensors(stored, layer)))
    }
    this.#attach(name, { config, provenance, layers })
    return config
  }

  /** Identity of the base model and template that an adapter was trained with, as far as known. */
  provenance(name: string): AdapterProvenance {
    return this.#get(name).provenance
  }

  setProvenance(name: string, provenance: AdapterProvenance): void {
    this.#get(name).provenance = provenance
  }

  async save(name: string, folder: string): Promise<void> {
    const { config, provenance, layers } = this.#get(name)
    const method = adapterMethod(config.method)
    const tensors = new Map([...layers].map(([linear, layer]) => [linear.name, method.tensors(layer)]))
    this.#baseHash ??= this.model.source?.hash() ?? null
    const complete = this.#baseHash ? { ...provenance, baseHash: provenance.baseHash ?? this.#baseHash } : provenance
    await writeAdapterFolder(folder, config, tensors, { base: this.model.path, provenance: complete })
  }

  activate(names: readonly string[]): void {
    for (const name of names) this.#get(name)
    for (const [name, { layers }] of this.#adapters) {
      for (const linear of layers.keys())
        linear.adapters.get(name)!.active = names.includes(name) && !this.#merged.includes(name)
    }
  }

  async merge(name: string): Promise<{ merged: number; maxAbsoluteChange: number }> {
    const { layers } = this.#get(name)
    if (this.#merged.includes(name)) throw new UsageError('already-merged', `Adapter ${name} is merged already.`)
    const nonFinite = keep(Tensor.zeros([1], { device: this.model.device, dtype: 'int32' }))
    let maxAbsoluteChange = 0
    for (const [linear, layer] of layers) {
      if (!this.model.source && !this.#pristine.has(linear)) this.#pristine.set(linear, copyOf(linear.weight))
      const before = (await linear.weight.data()) as Float32Array
      layer.mergeInto(linear.weight, linear.adapters.get(name)!.scale, nonFinite)
      maxAbsoluteChange = Math.max(
        maxAbsoluteChange,
        largestChange(before, (await linear.weight.data()) as Float32Array),
      )
      linear.adapters.get(name)!.active = false
    }
    this.#merged.push(name)
    const bad = await nonFinite.item()
    nonFinite.dispose()
    if (bad > 0) {
      await this.unmerge(name)
      throw new RunError(
        'non-finite',
        `Merging adapter ${name} gives ${bad} weights that are not finite; nothing was changed.`,
      )
    }
    return { merged: layers.size, maxAbsoluteChange }
  }

  async unmerge(name: string): Promise<void> {
    const { layers } = this.#get(name)
    const at = this.#merged.indexOf(name)
    if (at < 0) throw new UsageError('not-merged', `Adapter ${name} is not merged.`)
    this.#merged.splice(at, 1)
    scope(() => {
      const nonFinite = Tensor.zeros([1], { device: this.model.device, dtype: 'int32' })
      for (const linear of layers.keys()) {
        const pristine = this.#pristine.get(linear)
        if (pristine) linear.weight.copyFrom(pristine)
        else this.model.source!.loadInto(`${linear.name}.weight`, linear.weight)
        for (const { layer, scale } of this.mergedLayers(linear)) layer.mergeInto(linear.weight, scale, nonFinite)
        linear.adapters.get(name)!.active = true
      }
    })
    await this.model.device.synchronize()
  }

  remove(name: string): void {
    const { layers } = this.#get(name)
    if (this.#merged.includes(name)) {
      throw new UsageError('merged', `Adapter ${name} is merged into the weights; unmerge it before removing it.`)
    }
    for (const [linear, layer] of layers) {
      linear.adapters.delete(name)
      layer.dispose()
    }
    this.#adapters.delete(name)
  }

  dispose(): void {
    for (const { layers } of this.#adapters.values()) for (const layer of layers.values()) layer.dispose()
    for (const tensor of this.#pristine.values()) tensor.dispose()
    this.#adapters.clear()
    this.#pristine.clear()
  }

  #attach(name: string, adapter: ModelAdapter): void {
    this.#adapters.set(name, adapter)
    for (const [linear, layer] of adapter.layers) linear.adapters.set(name, { layer, active: true, scale: 1 })
  }

  #get(name: string): ModelAdapter {
    const adapter = this.#adapters.get(name)
    if (adapter) return adapter
    const known = [...this.#adapters.keys()].join(', ') || 'none'
    throw new UsageError('unknown-adapter', `The model has no adapter ${name}; it has: ${known}.`)
  }

  #requireFree(name: string): void {
    if (this.#adapters.has(name)) throw new UsageError('adapter-exists', `The model has an adapter ${name} already.`)
  }
}

function copyOf(tensor: Tensor): Tensor {
  const copy = keep(Tensor.empty(tensor.shape, tensor))
  copy.copyFrom(tensor)
  return copy
}

function largestChange(before: Float32Array, after: Float32Array): number {
  let largest = 0
  for (let i = 0; i < before.length; i++) largest = Math.max(largest, Math.abs(after[i]! - before[i]!))
  return largest
}
