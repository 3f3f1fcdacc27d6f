import type { AdapterConfigBase } from '../../adapters/contract/adapter.js'
import { type AdapterProvenance, writeAdapterFolder } from '../../adapters/files/adapter-folder.js'
import { namesInFile } from '../../adapters/files/modules-to-save.js'
import { type LoadedAdapter, readAdapterLayers } from '../../adapters/files/read-layers.js'
import { planAdapter } from '../../adapters/planning/adapter-plan.js'
import { adapterMethod } from '../../adapters/registry.js'
import { LayerMaker, tensorsToStore } from '../../adapters/tensors/layer-maker.js'
import { quoted, UsageError } from '../../errors.js'
import type { HubOptions } from '../../hub/index.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Linear } from '../../nn/linear.js'
import { Parameter } from '../../tensor/parameter.js'
import { requireRoom } from '../../tensor/room.js'
import { transposedView } from '../../tensor/tensor.js'
import type { Model } from '../model.js'
import type { WeightSlot } from '../network/weight-slot.js'
import { ModelAdapter } from './attached-adapter.js'
import { baseName } from './base-of-adapters.js'
import { replacement, type WeightEdit } from './edits.js'
import { makeLayers } from './make-layers.js'
import { MergedAdapters } from './merged-weights.js'

export interface RestartOptions {
  /** Of the adapter from then on, as it is by default; its targets and modules stay. */
  config?: AdapterConfigBase
  /** Of initial values, default 0. */
  seed?: number
  /** Without, what the adapter had learnt is forgotten. Default true. */
  merge?: boolean
}

/** The adapters of a model: added, loaded, switched, merged into the weights and taken out again. */
export class ModelAdapters {
  readonly #adapters = new Map<string, ModelAdapter>()
  readonly #merged: MergedAdapters

  constructor(readonly model: Model) {
    this.#merged = new MergedAdapters(model)
  }

  get configs(): ReadonlyMap<string, AdapterConfigBase> {
    return new Map([...this.#adapters].map(([name, { config }]) => [name, config]))
  }

  /** Adapters that take part in forward passes. */
  activeNames(): string[] {
    return [...this.#adapters.values()].filter(({ active, merged }) => active && !merged).map(({ name }) => name)
  }

  /** The weights, and what is merged into them. */
  get merged(): MergedAdapters {
    return this.#merged
  }

  setScale(name: string, scale: number): void {
    const adapter = this.#get(name)
    if (!Number.isFinite(scale))
      throw new UsageError('invalid-scale', `Expected a finite scale but received ${quoted(scale)}.`)
    if (adapter.merged) throw new UsageError('merged', `Adapter ${name} is merged; unmerge it before scaling it.`)
    adapter.scale = scale
  }

  /** The adapter is there when this returns, unless its method must compute for long: then once the promise resolves. */
  add(name: string, config: AdapterConfigBase, seed: number, onWarning?: (message: string) => void): Promise<void> {
    this.#requireFree(name)
    const { model } = this
    const { targets, modules: selected, cost, notes } = planAdapter(config, model.adaptableLayers(), model.base, model)
    const what = `Adapter ${name} (${config.method}, rank ${config.rank})`
    const bytes = { tensors: cost.values, making: cost.making }
    requireRoom(model.device, bytes, what, 'give it a lower rank, or fewer targetModules')
    for (const note of notes) onWarning?.(note)
    return this.#makeLayers(name, config, targets, seed, (layers) => {
      const modules = new Map(
        selected.weights.map((weight) => [weight, new Parameter(weight, this.#merged.values(model.slot(weight)))]),
      )
      this.#attach(name, { config: { ...config, modulesToSave: selected.names }, provenance: {}, layers, modules })
    })
  }

  async load(
    folder: string,
    name: string,
    { allowOtherBase, offline, onDownload, onWarning }: { allowOtherBase?: boolean } & HubOptions,
  ): Promise<AdapterConfigBase> {
    this.#requireFree(name)
    const { device, base } = this.model
    const loaded = await readAdapterLayers(folder, this.model.adaptableLayers(), base, {
      device,
      adapter: name,
      allowOtherBase,
      ...{ offline, onDownload, onWarning },
    })
    this.#attach(name, loaded)
    return loaded.config
  }

  /** Identity of the base model and template that an adapter was trained with, as far as known. */
  provenance(name: string): AdapterProvenance {
    return this.#get(name).provenance
  }

  setProvenance(name: string, provenance: AdapterProvenance): void {
    this.#get(name).provenance = provenance
  }

  /** Without `modules`, as an adapter that trains none whole. */
  async save(name: string, folder: string, options: { modules?: boolean } = {}): Promise<void> {
    const { config, provenance, layers, modules } = this.#get(name)
    const { base, source } = this.model
    const method = adapterMethod(config.method)
    const targets = [...layers.keys()]
    const tensors = new Map(
      [...layers].map(([linear, layer]) => [linear.name, tensorsToStore(method, config, linear, targets, layer)]),
    )
    const whole = options.modules === false ? [] : [...modules]
    const stored = whole.map(
      ([slot, parameter]) =>
        [
          slot.name,
          base.transposed.has(slot.name) ? transposedView(parameter) : parameter.view(parameter.shape),
        ] as const,
    )
    const files = new Map(stored.flatMap(([slot, view]) => namesInFile(slot, base).map((file) => [file, view])))
    const complete = provenance.baseHash === undefined ? { ...provenance, ...this.#baseProvenance() } : provenance
    const written = whole.length > 0 ? config : { ...config, modulesToSave: [] }
    const fanInFanOut = base.transposed.size > 0
    try {
      await writeAdapterFolder(folder, written, tensors, files, {
        base: baseName(source),
        provenance: complete,
        fanInFanOut,
      })
    } finally {
      for (const [, view] of stored) view.dispose()
    }
  }

  activate(names: readonly string[]): void {
    const active = names.map((name) => this.#get(name))
    const adapters = [...this.#adapters.values()]
    requireApart(adapters.filter((adapter) => adapter.merged || active.includes(adapter)))
    // Those that are left give weights back before others stand in for them.
    for (const adapter of adapters) if (!active.includes(adapter)) adapter.active = false
    for (const adapter of active) adapter.active = true
  }

  async merge(name: string): Promise<{ merged: number }> {
    const adapter = this.#get(name)
    requireApart([...this.#adapters.values()].filter((other) => other === adapter || other.active || other.merged))
    return this.#merged.merge(adapter)
  }

  async unmerge(name: string): Promise<void> {
    return this.#merged.unmerge(this.#get(name))
  }

  /**
   * Adds an adapter's ΔW to the weights for good and starts it again with fresh layers, beside the same weights: what
   * ReMoRA and ReLoRA do. Modules that it trains whole go on as they are.
   */
  async restart(name: string, options: RestartOptions): Promise<void> {
    const adapter = this.#get(name)
    const { config = adapter.config, seed = 0, merge = true } = options
    if (adapter.merged) throw new UsageError('merged', `Adapter ${name} is merged; unmerge it before restarting it.`)
    if (merge) await this.#merged.changeForGood(adapter.layerEdits)
    const { baseHash, baseFormat, ...elsewhere } = adapter.provenance
    adapter.provenance = elsewhere
    const { targetModules, modulesToSave } = adapter.config
    const next = { ...config, targetModules, modulesToSave }
    await this.#makeLayers(name, next, [...adapter.layers.keys()], seed, (layers) =>
      adapter.replaceLayers(next, layers),
    )
  }

  /** Adds the ΔW of an adapter in a folder to the weights for good. */
  async mergeForGood(folder: string): Promise<void> {
    const { model } = this
    const { layers, modules } = await readAdapterLayers(folder, model.adaptableLayers(), model.base, {
      device: model.device,
      adapter: folder,
    })
    const edits = [...layers].map(([{ name }, layer]): [WeightSlot, WeightEdit] => [
      model.slot(`${name}.weight`),
      (weight, nonFinite) => layer.mergeInto(weight, 1, nonFinite),
    ])
    const moduleEdits = [...modules].map(([name, parameter]) => [model.slot(name), replacement(parameter)] as const)
    try {
      await this.#merged.changeForGood(new Map([...edits, ...moduleEdits]))
    } finally {
      for (const part of [...layers.values(), ...modules.values()]) part.dispose()
    }
  }

  remove(name: string): void {
    const adapter = this.#get(name)
    if (adapter.merged) {
      throw new UsageError('merged', `Adapter ${name} is merged into the weights; unmerge it before removing it.`)
    }
    adapter.dispose()
    this.#adapters.delete(name)
  }

  /** Throws unless every weight that forward passes use is the model's own. */
  requireOwnWeights(): void {
    const adapter = [...this.#adapters.values()].find(
      ({ active, merged, modules }) => active && !merged && modules.size > 0,
    )
    if (!adapter) return
    const { name, config } = adapter
    throw new UsageError(
      'modules-in-use',
      `Adapter ${name} trains ${config.modulesToSave.join(', ')} whole: merge or remove it before the model's own weights are trained.`,
    )
  }

  /** Merged adapters are part of the weights from now on, and no adapters any more. */
  absorbMerged(): void {
    for (const adapter of this.#merged.absorb()) {
      adapter.dispose()
      this.#adapters.delete(adapter.name)
    }
  }

  dispose(): void {
    for (const adapter of this.#adapters.values()) adapter.dispose()
    this.#merged.absorb()
    this.#adapters.clear()
  }

  #makeLayers(
    name: string,
    config: AdapterConfigBase,
    targets: readonly Linear[],
    seed: number,
    attach: (layers: Map<Linear, LayerAdapter>) => void,
  ): Promise<void> {
    const { device } = this.model
    const maker = new LayerMaker(adapterMethod(config.method), config, targets)
    const create = (layer: Linear) => maker.create({ layer, device, adapter: name }, seed, layer.weight)
    return makeLayers(targets, create, attach)
  }

  #attach(name: string, loaded: LoadedAdapter<Linear>): void {
    const adapter = new ModelAdapter(name, loaded, (weight) => this.model.slot(weight))
    try {
      const present = [...this.#adapters.values()].filter(({ active, merged }) => active || merged)
      requireApart([...present, adapter])
    } catch (error) {
      adapter.dispose()
      throw error
    }
    this.#adapters.set(name, adapter)
    adapter.active = true
  }

  /** What merging the active adapters would do to a weight. */
  activeEdits(slot: WeightSlot): WeightEdit[] {
    const active = [...this.#adapters.values()].filter(({ active, merged }) => active && !merged)
    return active.flatMap(({ edits }) => edits.get(slot) ?? [])
  }

  /** Nothing where weights have been trained or changed for good: no file is the base then. */
  #baseProvenance(): AdapterProvenance {
    const { base, slots } = this.model
    const changed = this.#merged.changedForGood || slots.some(({ own }) => own instanceof Parameter)
    const identity = changed ? null : base.identity()
    return identity ? { baseHash: identity.hash, baseFormat: identity.format } : {}
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

/** A weight that one adapter trains whole cannot be changed by another at the same time. */
function requireApart(adapters: readonly ModelAdapter[]): void {
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
