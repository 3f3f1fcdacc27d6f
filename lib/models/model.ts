import { z } from 'zod'
import type { AdapterConfigBase } from '../adapters/contract/adapter.js'
import { type BaseModel, SCORE_WEIGHT, withLabels } from '../adapters/contract/base-model.js'
import { selectModules } from '../adapters/files/modules-to-save.js'
import {
  anObject,
  aText,
  check,
  expecting,
  listOfTexts,
  optionsSchema,
  wholeFrom,
  wholes,
} from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import type { FloatDType, NativeDevice } from '../native/addon.js'
import type { Linear } from '../nn/linear.js'
import type { Pooling } from '../nn/pooling.js'
import type { Parameter } from '../tensor/parameter.js'
import { allOrNothing, keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { firstTensor } from '../tensor/weight.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type {
  AdapterChoice,
  AddAdapterOptions,
  LoadAdapterOptions,
  MergeAdapterOptions,
  RestartOptions,
  SaveAdapterOptions,
} from './adaptation/adapter-options.js'
import { AdapterSet } from './adaptation/adapter-set.js'
import { baseModelOf } from './adaptation/base.js'
import { type SaveOptions, saveModel } from './adaptation/save-model.js'
import { TrainingHold } from './adaptation/training-hold.js'
import type { QuantisedBase } from './load/storage-plan.js'
import { ModelView } from './model-view.js'
import { Decoder } from './network/decoder.js'
import { ForwardPasses, RunPasses } from './network/forward-passes.js'
import type { NetworkWeights } from './network/linear-layers.js'
import type { ModelConfig } from './network/model-config.js'
import { requireWhole } from './network/model-shards.js'
import { untrainedTokens } from './network/untrained-rows.js'
import { trainedTensors, type WeightSlot } from './network/weight-slot.js'
import type { ModelSource } from './read/model-source.js'

const modelArguments = {
  parts: optionsSchema('the parts of a model (loadModel and initModel make one)', { weights: anObject }),
}

const addHeadArguments = {
  labels: expecting('a list of one text or more', z.array(aText).min(1)),
  options: optionsSchema('the options of addHead', { seed: wholeFrom(0).optional() }),
}

/** The parts that a model is made of. */
interface ModelParts {
  tokenizer: Tokenizer | null
  weights: NetworkWeights
  /** The checkpoint, to read pristine weights again; null for a model with random weights. */
  source: ModelSource | null
  rotaryDtype?: 'float32' | 'bfloat16' | undefined
  quantised?: QuantisedBase | null
}

/** A causal language model with adapters: what `loadModel` returns. */
export class Model extends ForwardPasses implements Disposable, AsyncDisposable {
  /** Sizes of the network, and `config.json` as it was read. */
  readonly config: ModelConfig
  /** The tokenizer beside the weights; null where there is none. */
  readonly tokenizer: Tokenizer | null
  /** Where weights and activations lie. */
  readonly device: NativeDevice
  /** The dtype of activations and frozen weights. */
  readonly dtype: FloatDType
  /** The checkpoint that it was loaded from; null for a model with random weights. */
  readonly source: ModelSource | null
  /** The form of its file's quantised weights; null if it has none. */
  readonly quantised: QuantisedBase | null
  /**
   * The weights' names and shapes, and the checkpoint's identity.
   *
   * @internal
   */
  base: BaseModel
  /** The adapters and the weights that they were merged into; the methods of `Model` call it. */
  readonly adapterSet: AdapterSet
  /**
   * Whether ranks of this machine share its matrices' memory.
   *
   * @internal
   */
  readonly isShared: boolean
  /**
   * Every weight, in the order of the checkpoint.
   *
   * @internal
   */
  readonly slots: readonly WeightSlot[]
  /**
   * Rows of at least this many tokens use different rotary angles, from their first token on (LongRoPE).
   *
   * @internal
   */
  readonly longRowsFrom: number
  /**
   * Pooling of hidden states to the embedding of a text, from its files or its adapter: the `mean` over all tokens, or the state
   * of the `last` token; null if it is unknown.
   */
  pooling: Pooling | null
  /** Why embeddings cannot be computed as the model's files say, unless `pooling` says another way; null: they can. */
  readonly unsupportedPooling: string | null
  readonly #decoder: Decoder
  readonly #slots: Map<string, WeightSlot>
  readonly #training: TrainingHold
  #freed: Promise<void> | null = null

  constructor(parts: ModelParts) {
    check({ parts }, modelArguments)
    const { tokenizer, weights, source, rotaryDtype = 'float32', quantised = null } = parts
    const decoder = allOrNothing(() => new Decoder(weights, rotaryDtype))
    const training = new TrainingHold()
    super(decoder, { within: (part) => training.outside(part) })
    this.#training = training
    this.#decoder = decoder
    this.config = weights.config
    this.tokenizer = tokenizer
    this.source = source
    this.device = weights.device
    this.dtype = weights.dtype
    this.base = baseModelOf(this.config, source)
    this.longRowsFrom = decoder.longRowsFrom
    this.slots = decoder.slots
    this.#slots = new Map(this.slots.map((slot) => [slot.name, slot]))
    this.quantised = quantised
    this.pooling = source?.embeddings.pooling ?? null
    this.unsupportedPooling = source?.embeddings.unsupportedPooling ?? null
    this.isShared = weights.isShared ?? false
    this.adapterSet = new AdapterSet(this, this.#training)
  }

  /** The path on this disk; empty for a model with random weights. */
  get path(): string {
    return this.source?.path ?? ''
  }

  /** The path as the user gave it, or the hub id with its commit; empty for a model with random weights. */
  get reference(): string {
    return this.source?.located.reference ?? ''
  }

  /** The embeddings' table [V, D] as stored, without what adapters add to it. */
  get embeddings(): Tensor {
    return firstTensor(this.#decoder.embeddingTable.weight)
  }

  /** The output head's weight [V, D], without what adapters add to it: the embeddings themselves where they are tied. */
  get head(): Tensor {
    return firstTensor(this.#decoder.headTable.weight)
  }

  /** Every linear layer but the tables of embeddings and head, in order. */
  linears(): Linear[] {
    return this.#decoder.linears()
  }

  /** Every layer that can have an adapter: the layers of the blocks, and untied embeddings and head, which only names select. */
  adaptableLayers(): Linear[] {
    return [...this.linears(), ...this.#decoder.tables]
  }

  /**
   * A weight by its name in Hugging Face's checkpoints.
   *
   * @internal
   */
  slot(name: string): WeightSlot {
    return this.#slots.get(name)!
  }

  /** Names of the labels that its head scores, in order, such as the classes of texts; null without such a head. */
  get labels(): readonly string[] | null {
    return this.base.labels
  }

  /**
   * Adds a head that scores the hidden state of a text's last token for each label: a matrix [labels, D] in float32 without bias,
   * random by `seed`. Adapters train and keep it if their `modulesToSave` has `score`.
   * @throws UsageError `has-head` if there is one already, `in-training` while a run holds the model
   */
  addHead(labels: readonly string[], options: { seed?: number } = {}): void {
    check({ labels, options }, addHeadArguments)
    this.#training.requireNoOther('a head would be added to it')
    if (this.labels) {
      throw new UsageError('has-head', `The model has a head already; its labels are ${this.labels.join(', ')}.`)
    }
    const random = randomStream(options.seed ?? 0, 'init', SCORE_WEIGHT)
    const { hiddenSize, initializerRange } = this.config
    const values = new Float32Array(labels.length * hiddenSize).map(() => random.normal() * initializerRange)
    const head = keep(Tensor.from(values, [labels.length, hiddenSize], { device: this.device }))
    this.#slots.set(SCORE_WEIGHT, this.#decoder.addScore(head))
    this.base = withLabels(this.base, labels)
  }

  /** Configurations of all adapters, by name. */
  get adapters(): ReadonlyMap<string, AdapterConfigBase> {
    return this.adapterSet.configs
  }

  /**
   * Adds a fresh adapter beside the layers that its targets select, and makes it active. The adapter exists once the promise
   * resolves: methods such as `pissa` decompose every weight first. `onWarning` is called about ranks that are higher than layers
   * can use.
   * @throws UsageError `too-little-memory` if it does not fit, before memory is allocated
   */
  addAdapter(name: string, config: AdapterConfigBase, options: AddAdapterOptions = {}): Promise<void> {
    return this.adapterSet.add(name, config, options)
  }

  /**
   * Adds an adapter from a folder in Hugging Face PEFT's layout, or from the hub; `name` defaults to `default`. Throws a
   * UsageError `other-base` if the adapter was trained on another base model, unless `allowOtherBase` is set. While a run trains the
   * model, it is added for the calls that choose it, but not made active.
   */
  async loadAdapter(adapter: string, name = 'default', options: LoadAdapterOptions = {}): Promise<AdapterConfigBase> {
    return this.adapterSet.load(adapter, name, options)
  }

  /**
   * Writes an adapter; `modules: false` leaves out the modules that it trains whole. If a run trains it meanwhile, tensors may be of
   * two neighbouring steps: take the run's checkpoints, whose tensors are of one.
   */
  async saveAdapter(name: string, folder: string, options: SaveAdapterOptions = {}): Promise<void> {
    return this.adapterSet.save(name, folder, options)
  }

  /**
   * Adds the adapter's ΔW to the weights, modules trained whole included, and takes it out of forward passes.
   * Returns the number of weights that it changed.
   * @throws RunError `non-finite` if a result is not finite, the reason of an aborted `signal`; nothing is changed then
   */
  async mergeAdapter(
    name: string,
    options: MergeAdapterOptions = {},
  ): Promise<{
    /** Number of weights that the adapter changed. */
    merged: number
  }> {
    return this.adapterSet.merge(name, options)
  }

  /**
   * Removes the adapter's part from the weights and restores the rest bit for bit; the adapter is active again if it was
   * before.
   */
  async unmergeAdapter(name: string): Promise<void> {
    return this.adapterSet.unmerge(name)
  }

  /**
   * Adds the adapter's ΔW to the weights permanently and restarts it at zero beside the same layers: a step of ReMoRA (MoRA,
   * arXiv 2405.12130, section 5.3) or ReLoRA (arXiv 2307.05695). Its tensors are replaced, so tell the optimizer:
   * `optimizer.setParameters(model.trainableParameters().map(({ parameter }) => parameter))`.
   */
  async restartAdapter(name: string, options: RestartOptions = {}): Promise<void> {
    return this.adapterSet.restart(name, options)
  }

  /**
   * Adds the ΔW of an adapter in a folder to the weights permanently, such as what a restarted adapter had added before.
   *
   * @internal
   */
  async absorbAdapter(folder: string): Promise<void> {
    return this.adapterSet.mergeForGood(folder)
  }

  /**
   * Removes an adapter and frees its tensors. A merged adapter has to be unmerged first.
   * @throws UsageError `in-training` if it takes part in a run that trains the model
   */
  removeAdapter(name: string): void {
    this.adapterSet.remove(name)
  }

  /**
   * Returns a view of the model whose passes use these adapters, whatever is active; by default the active ones. Passes
   * of the model, of views and of a run may alternate, since none changes what another computes.
   *
   * ```ts
   * import { generate, loadModel, mora } from 'node-mora'
   *
   * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
   * await model.addAdapter('math', mora({ rank: 8 }))
   * const base = model.withAdapters([])
   * const { text } = await generate(base, { prompt: 'How many legs have 3 cats?', maxNewTokens: 8 })
   * ```
   *
   * @throws UsageError `unknown-adapter`, `merged` for the scale of a merged one, `shared-module` if they exclude each other
   */
  withAdapters(adapters?: AdapterChoice): ModelView {
    return new ModelView(this.adapterSet, this.#decoder, this.adapterSet.chosen(adapters))
  }

  /** Makes these adapters the only active ones. @throws UsageError `in-training` while a run holds the model */
  setActiveAdapters(names: readonly string[]): void {
    this.adapterSet.activate(names)
  }

  /** Returns the modules that names of `modulesToSave` stand for; throws with the candidates for an unknown name. */
  moduleNames(names: readonly string[]): readonly string[] {
    check({ names }, { names: listOfTexts })
    return selectModules(names, this.base).names
  }

  /**
   * Sets the factor of an adapter's contribution; a merged adapter has to be unmerged first.
   * @throws UsageError `in-training` while a run holds the model
   */
  setAdapterScale(name: string, scale: number): void {
    this.adapterSet.setScale(name, scale)
  }

  /**
   * Holds the model for one run until that releases it: meanwhile, others may compute with it and save it, but not change it.
   *
   * @internal
   * @throws UsageError `in-training` if a run already holds it
   */
  holdForTraining(): {
    /** The passes of the run: calls by other code do not change their dropout, recomputation or arithmetic. */
    passes: RunPasses
    hold: TrainingHold
  } {
    this.#training.begin()
    const passes = new RunPasses(this.#decoder, (adapters) => this.withAdapters(adapters))
    return { passes, hold: this.#training }
  }

  /**
   * Trains every weight of the model itself (`--method full`): they become float32 parameters. Merged adapters become part of
   * them and are removed as adapters.
   */
  trainAll(): void {
    requireWhole(this.#decoder, 'Full training changes the weights')
    this.adapterSet.trainWeights()
    this.#decoder.disposeFused()
    this.source?.closeFiles()
  }

  /** Returns the trained tensors: of active adapters, and weights that `trainAll` made trainable. */
  trainableParameters(): {
    /** The parameter's name in optimizer state and checkpoints. */
    name: string
    /** The float32 tensor and its gradient. */
    parameter: Parameter
  }[] {
    return trainedTensors(this.slots, this.adaptableLayers()).map((parameter) => ({ name: parameter.name, parameter }))
  }

  /** Returns the ids whose rows of frozen embeddings or a frozen head look untrained, without what adapters add. */
  async untrainedTokens(ids: readonly number[]): Promise<number[]> {
    check({ ids }, { ids: wholes })
    return untrainedTokens(new Set([this.#decoder.embeddingTable.weight, this.#decoder.headTable.weight]), ids)
  }

  /**
   * Writes the model into a folder in Hugging Face's layout, or into a GGUF file if the output ends with `.gguf`, with merged
   * adapters and, given `mergeActive`, active ones. `dtype` defaults to the source's. If a run trains them meanwhile, weights may be of
   * two neighbouring steps: take the run's checkpoints.
   * @throws UsageError `output-exists` for an output that holds something, unless `overwrite` is given
   */
  async save(output: string, options: SaveOptions = {}): Promise<void> {
    return saveModel(this.adapterSet, output, options)
  }

  /**
   * Frees all weights and adapters. A run that trains the model ends first, after its current step and with everything saved; the
   * memory is freed then.
   */
  dispose(): void {
    void this.#free()
  }

  /** Disposes the model, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Disposes the model, for `await using`, and resolves once its memory is free. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#free()
  }

  #free(): Promise<void> {
    this.#freed ??= this.#training.afterRun(() => {
      this.adapterSet.dispose()
      this.#decoder.dispose()
      this.source?.closeFiles()
    })
    return this.#freed
  }
}

/** A loaded model, or a view of one with adapters of its own. */
export type LoadedModel = Model | ModelView
