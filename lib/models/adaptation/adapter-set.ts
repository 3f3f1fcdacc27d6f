import type { AdapterConfigBase } from '../../adapters/contract/adapter.js'
import { SCORE_WEIGHT } from '../../adapters/contract/base-model.js'
import { trainedWeight } from '../../adapters/files/modules-to-save.js'
import { disposeLoaded, type LoadedAdapter, readAdapterLayers } from '../../adapters/files/read-layers.js'
import type { AdapterProvenance } from '../../adapters/files/stored-adapter.js'
import { completeConfig } from '../../adapters/new-adapter.js'
import { requireFewerThanWeights } from '../../adapters/planning/adapter-cost.js'
import { planAdapter } from '../../adapters/planning/adapter-plan.js'
import { adapterMethod } from '../../adapters/registry.js'
import { LayerMaker, tensorsOfLayer, tensorsToStore } from '../../adapters/tensors/layer-maker.js'
import { aText, check, listOfTexts } from '../../common/arguments.js'
import { quoted, UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { elementsOf } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Linear } from '../../nn/linear.js'
import type { Pooling } from '../../nn/pooling.js'
import { requireFreeMemory } from '../../tensor/memory-budget.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { WeightSlot } from '../network/weight-slot.js'
import {
  type AdapterChoice,
  type AddAdapterOptions,
  addAdapterArguments,
  type LoadAdapterOptions,
  loadAdapterArguments,
  type MergeAdapterOptions,
  mergeAdapterArguments,
  type RestartOptions,
  restartAdapterArguments,
  type SaveAdapterOptions,
  saveAdapterArguments,
  someAdapters,
} from './adapter-options.js'
import { saveAdapter } from './base.js'
import { makeLayers } from './make-layers.js'
import { MergedWeights } from './merged-weights.js'
import type { AdaptedModel } from './model-adapter.js'
import { editsOf, ModelAdapter, requireApart } from './model-adapter.js'
import type { TrainingHold } from './training-hold.js'

/** The adapters of a model: added, loaded, switched, merged into the weights and taken out again. */
export class AdapterSet {
  readonly #adapters = new Map<string, ModelAdapter>()
  /** Aliases of adapters. */
  readonly #aliases = new Map<string, string>()
  readonly #merged: MergedWeights

  constructor(
    readonly model: AdaptedModel,
    readonly training: TrainingHold,
  ) {
    this.#merged = new MergedWeights(model)
  }

  get configs(): ReadonlyMap<string, AdapterConfigBase> {
    const aliases = new Map([...this.#aliases].map(([alias, name]) => [name, alias]))
    return new Map([...this.#adapters].map(([name, { config }]) => [aliases.get(name) ?? name, config]))
  }

  /**
   * Makes a name that no adapter has an alias of an adapter; null removes the alias. Views that have chosen the former adapter by the
   * alias keep it.
   */
  alias(name: string, adapter: string | null): void {
    if (adapter === null) this.#aliases.delete(name)
    else this.#aliases.set(name, this.#get(adapter).name)
  }

  /** Whether an adapter takes part in the passes of a run that trains the model. */
  isInTraining(name: string): boolean {
    return this.training.isHeld && this.#get(name).active
  }

  /** Names of the adapters that take part in forward passes. */
  activeNames(): string[] {
    return this.#active().map(({ name }) => name)
  }

  setScale(name: string, scale: number): void {
    check({ name }, { name: aText })
    this.training.requireNone(
      `the scale of adapter ${name} would change (generate and evaluate take adapters of their own)`,
    )
    const adapter = this.#get(name)
    if (!Number.isFinite(scale))
      throw new UsageError('invalid-scale', `Expected a finite scale but received ${quoted(scale)}.`)
    if (adapter.merged) throw new UsageError('merged', `Adapter ${name} is merged; unmerge it before scaling it.`)
    adapter.scale = scale
  }

  /** See `Model.addAdapter`. */
  add(name: string, given: AdapterConfigBase, options: AddAdapterOptions): Promise<void> {
    check({ name, options }, addAdapterArguments)
    this.training.requireNoOther(`adapter ${name} would be added to it`)
    const config = completeConfig(given)
    const { seed = 0, onWarning } = options
    this.#requireFree(name)
    const { model } = this
    const { targets, modules: selected, cost, notes } = planAdapter(config, model.adaptableLayers(), model.base, model)
    const what = `Adapter ${name} (${config.method}, rank ${config.rank})`
    const bytes = { tensors: cost.values, making: cost.making }
    requireFreeMemory(model.device, bytes, what, `give it a lower rank, or fewer ${optionName('targetModules')}`)
    requireFewerThanWeights(config, targets)
    for (const note of notes) onWarning?.(note)
    return this.#makeLayers(name, config, targets, seed, (layers) => {
      const modules = new Map(
        selected.weights.map((weight) => [weight, trainedWeight(weight, this.#merged.values(model.slot(weight)))]),
      )
      this.#attach(name, { config: { ...config, modulesToSave: selected.names }, provenance: {}, layers, modules })
    })
  }

  async load(folder: string, name: string, options: LoadAdapterOptions): Promise<AdapterConfigBase> {
    check({ adapter: folder, name, options }, loadAdapterArguments)
    this.#requireFree(name)
    const { device, base } = this.model
    const { allowOtherBase, active = true, as, offline, onDownload, onWarning } = options
    const reading = { device, adapter: name, allowOtherBase, as, offline, onDownload, onWarning }
    const loaded = await readAdapterLayers(folder, this.model.adaptableLayers(), base, reading)
    try {
      this.#requireFree(name)
      if (loaded.labels) this.model.addHead(loaded.labels)
    } catch (error) {
      disposeLoaded(loaded)
      throw error
    }
    // A run may have begun since.
    const takesPart = active && !this.training.isOthers
    if (takesPart) this.model.pooling = loaded.provenance.pooling ?? this.model.pooling
    this.#attach(name, loaded, takesPart)
    return loaded.config
  }

  /** Identity of the base model and template that an adapter was trained with, as far as known. */
  provenance(name: string): AdapterProvenance {
    return this.#get(name).provenance
  }

  /** Remembers the template of the rows that an adapter is trained on, so that another one can be noticed later. */
  recordTemplate(name: string, hash: string | undefined): void {
    const adapter = this.#get(name)
    adapter.provenance = { ...adapter.provenance, templateHash: hash }
  }

  /** Remembers how an adapter, or the model without one, is trained to pool states. */
  recordPooling(name: string | null, pooling: Pooling): void {
    this.model.pooling = pooling
    if (name === null) return
    const adapter = this.#get(name)
    adapter.provenance = { ...adapter.provenance, pooling }
  }

  /** Writes an adapter; `modules: false` leaves out the modules that it trains whole. */
  async save(name: string, folder: string, options: SaveAdapterOptions): Promise<void> {
    check({ name, folder, options }, saveAdapterArguments)
    const { config, provenance, layers, modules: whole } = this.#get(name)
    const tensors = this.#tensorsToStore(name)
    const modules = new Map(options.modules === false ? [] : [...whole].map(([slot, values]) => [slot.name, values]))
    const { labels } = this.model.base
    const known = provenance.baseHash === undefined ? { ...provenance, ...this.#baseProvenance() } : provenance
    const complete = labels && modules.has(SCORE_WEIGHT) ? { ...known, labels } : known
    const written = modules.size > 0 ? config : { ...config, modulesToSave: [] }
    // A run may restart the adapter meanwhile, which frees its layers.
    const held = [...layers.values()].flatMap(tensorsOfLayer)
    for (const tensor of held) tensor.retain()
    try {
      await saveAdapter(this.model, { config: written, tensors, modules, provenance: complete }, folder)
    } finally {
      for (const tensor of held) tensor.release()
    }
  }

  /** Returns the bytes of the tensors that `save` writes. */
  bytesToSave(name: string): number {
    const stored = [...this.#tensorsToStore(name).values()].flat()
    const own = stored.filter(({ shared }) => !shared)
    const shared = new Map(stored.flatMap((tensor) => (tensor.shared ? [[tensor.suffix, tensor] as const] : [])))
    const shapes = [...own, ...shared.values(), ...this.#get(name).modules.values()].map(({ shape }) => shape)
    return shapes.reduce((sum, shape) => sum + 4 * elementsOf(shape), 0)
  }

  #tensorsToStore(name: string): Map<string, ReturnType<typeof tensorsToStore>> {
    const { config, layers } = this.#get(name)
    const method = adapterMethod(config.method)
    const targets = [...layers.keys()]
    return new Map(
      [...layers].map(([linear, layer]) => [linear.name, tensorsToStore(method, config, linear, targets, layer)]),
    )
  }

  activate(names: readonly string[]): void {
    check({ names }, { names: listOfTexts })
    this.training.requireNone('its active adapters would change (generate and evaluate take adapters of their own)')
    const active = names.map((name) => this.#get(name))
    this.#requireApart(active)
    this.#use(active)
  }

  /**
   * Returns the factors of chosen adapters by name; without a choice, of the active adapters.
   * @throws UsageError `unknown-adapter`, `merged`, `shared-module`
   */
  chosen(adapters: AdapterChoice = this.activeNames()): ReadonlyMap<string, number> {
    check({ adapters }, { adapters: someAdapters })
    const factors = new Map<string, number>()
    for (const one of adapters) {
      const name = typeof one === 'string' ? one : one.name
      const adapter = this.#get(name)
      if (factors.has(adapter.name)) throw new UsageError('bad-value', `Adapter ${name} is chosen twice; name it once.`)
      if (typeof one !== 'string' && adapter.merged)
        throw new UsageError('merged', `Adapter ${name} is merged; unmerge it before scaling it.`)
      factors.set(adapter.name, typeof one === 'string' ? adapter.scale : one.scale)
    }
    this.#requireApart([...factors.keys()].map((name) => this.#get(name)))
    // Whatever the order of the choice, sums are in that of the model.
    return new Map(
      [...this.#adapters.keys()].flatMap((name) => {
        const factor = factors.get(name)
        return factor === undefined ? [] : [[name, factor]]
      }),
    )
  }

  /** Whether these adapters exist and only add to the results of layers, so that rows of one pass can have different ones. */
  areOfRows(names: Iterable<string>): boolean {
    const areAdded = ({ modules, layers, merged }: ModelAdapter) =>
      !merged && modules.size === 0 && [...layers.keys()].every(({ role }) => role === undefined)
    return [...names].every((name) => {
      const adapter = this.#adapters.get(name)
      return adapter !== undefined && areAdded(adapter)
    })
  }

  /** Runs a part of a pass with these adapters as the active ones. `part` must be synchronous: nothing else computes meanwhile. */
  during<Result>(factors: ReadonlyMap<string, number>, part: () => Result): Result {
    const chosen = [...factors.keys()].map((name) => this.#get(name))
    this.#requireApart(chosen)
    const active = [...this.#adapters.values()].filter((adapter) => adapter.active)
    const scales = chosen.map(({ scale }) => scale)
    try {
      this.#use(chosen)
      for (const adapter of chosen) adapter.scale = factors.get(adapter.name)!
      return this.training.outside(part)
    } finally {
      for (const [i, adapter] of chosen.entries()) adapter.scale = scales[i]!
      this.#use(active)
    }
  }

  #requireApart(active: readonly ModelAdapter[]): void {
    requireApart([...this.#adapters.values()].filter((adapter) => adapter.merged || active.includes(adapter)))
  }

  #use(active: readonly ModelAdapter[]): void {
    // Adapters that become inactive restore weights before others replace them.
    for (const adapter of this.#adapters.values()) if (!active.includes(adapter)) adapter.active = false
    for (const adapter of active) adapter.active = true
  }

  async merge(name: string, options: MergeAdapterOptions): Promise<{ merged: number }> {
    check({ name, options }, mergeAdapterArguments)
    this.training.requireNone(`adapter ${name} would be merged into its weights`)
    const adapter = this.#get(name)
    requireApart([...this.#adapters.values()].filter((other) => other === adapter || other.active || other.merged))
    return this.#merged.merge(adapter, options)
  }

  async unmerge(name: string): Promise<void> {
    check({ name }, { name: aText })
    this.training.requireNone(`adapter ${name} would be taken out of its weights`)
    return this.#merged.unmerge(this.#get(name))
  }

  /**
   * Adds an adapter's ΔW to the weights permanently and restarts it with fresh layers beside the same weights, as ReMoRA and
   * ReLoRA do. Modules that it trains whole keep their values.
   */
  async restart(name: string, options: RestartOptions): Promise<void> {
    check({ name, options }, restartAdapterArguments)
    this.training.requireNoOther(`adapter ${name} would be merged and started again`)
    const { config: given, seed = 0, merge = true } = options
    const asGiven = given === undefined ? null : completeConfig(given)
    const adapter = this.#get(name)
    const config = asGiven ?? adapter.config
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

  /** Adds the ΔW of an adapter in a folder to the weights permanently. */
  async mergeForGood(folder: string): Promise<void> {
    check({ folder }, { folder: saveAdapterArguments.folder })
    this.training.requireNoOther(`${folder} would be merged into its weights`)
    const { model } = this
    const reading = { device: model.device, adapter: folder }
    const loaded = await readAdapterLayers(folder, model.adaptableLayers(), model.base, reading)
    try {
      await this.#merged.changeForGood(new Map([...editsOf(loaded)].map(([name, edit]) => [model.slot(name), edit])))
    } finally {
      disposeLoaded(loaded)
    }
  }

  remove(name: string): void {
    check({ name }, { name: aText })
    const adapter = this.#get(name)
    if (adapter.active) this.training.requireNone(`adapter ${name}, which takes part in it, would be removed`)
    if (adapter.merged) {
      throw new UsageError('merged', `Adapter ${name} is merged into the weights; unmerge it before removing it.`)
    }
    adapter.dispose()
    this.#adapters.delete(adapter.name)
    for (const [alias, name] of this.#aliases) if (name === adapter.name) this.#aliases.delete(alias)
  }

  /** Makes every weight a float32 parameter. Merged adapters become part of the weights and are removed as adapters. */
  trainWeights(): void {
    this.training.requireNoOther('its weights would become trainable')
    this.#requireOwnWeights()
    const { device, slots } = this.model
    const frozen = slots.filter(({ own, isConstant }) => own.parameter === null && !isConstant)
    const bytes = frozen.reduce((sum, { own }) => sum + 4 * elementsOf(own.shape), 0)
    requireFreeMemory(device, { tensors: bytes }, 'Every weight in float32', 'train an adapter, or a smaller model')
    for (const slot of frozen) slot.replaceOwn(trainedWeight(slot.name, this.#merged.values(slot)))
    for (const adapter of this.#merged.absorb()) {
      adapter.dispose()
      this.#adapters.delete(adapter.name)
    }
  }

  /** Writes a weight with what is merged into it, and with `active` also what active adapters add, into float32 memory. */
  fill(slot: WeightSlot, values: Tensor, active: boolean): void {
    this.#merged.fill(slot, values)
    if (!active) return
    using nonFinite = keep(Tensor.zeros([1], { device: this.model.device, dtype: 'int32' })) // the writer counts them itself
    for (const adapter of this.#active()) adapter.edits.get(slot)?.(values, nonFinite)
  }

  /** Whether a head that `addHead` made is trained, or given by a merged adapter, and with `active` by an active one. */
  hasHead(active: boolean): boolean {
    const slot = this.model.slots.find(({ name }) => name === SCORE_WEIGHT)
    if (!slot) return false
    const gives = (adapter: ModelAdapter) => (adapter.merged || (active && adapter.active)) && adapter.edits.has(slot)
    return slot.own.parameter !== null || [...this.#adapters.values()].some(gives)
  }

  /** Whether `fill` writes the same values as the weight's file. */
  isAsStored(slot: WeightSlot, active: boolean): boolean {
    return this.#merged.isAsStored(slot) && !(active && this.#active().some(({ edits }) => edits.has(slot)))
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

  #attach(name: string, loaded: LoadedAdapter<Linear>, active = true): void {
    const adapter = new ModelAdapter(name, loaded, (weight) => this.model.slot(weight))
    try {
      const present = [...this.#adapters.values()].filter((other) => other.active || other.merged)
      if (active) requireApart([...present, adapter])
    } catch (error) {
      adapter.dispose()
      throw error
    }
    this.#adapters.set(name, adapter)
    adapter.active = active
  }

  /** The adapters that take part in forward passes. */
  #active(): ModelAdapter[] {
    return [...this.#adapters.values()].filter(({ active, merged }) => active && !merged)
  }

  /** Throws unless every weight that forward passes use is the model's own. */
  #requireOwnWeights(): void {
    const adapter = this.#active().find(({ modules }) => modules.size > 0)
    if (!adapter) return
    const { name, config } = adapter
    throw new UsageError(
      'modules-in-use',
      `Adapter ${name} trains ${config.modulesToSave.join(', ')} whole: merge or remove it before the model's own weights are trained.`,
    )
  }

  /** Empty where weights were trained or changed permanently: no file is the base then. */
  #baseProvenance(): AdapterProvenance {
    const { base, slots } = this.model
    const changed = this.#merged.changedForGood || slots.some(({ own }) => own.parameter !== null)
    const identity = changed ? null : base.identity()
    return identity ? { baseHash: identity.hash, baseFormat: identity.format } : {}
  }

  #get(name: string): ModelAdapter {
    const adapter = this.#adapters.get(name) ?? this.#adapters.get(this.#aliases.get(name) ?? '')
    if (adapter) return adapter
    const known = [...this.configs.keys()].join(', ') || 'none'
    throw new UsageError('unknown-adapter', `The model has no adapter ${name}; it has: ${known}.`)
  }

  #requireFree(name: string): void {
    if (this.#adapters.has(name) || this.#aliases.has(name))
      throw new UsageError('adapter-exists', `The model has an adapter ${name} already.`)
  }
}
