import type { AdapterConfigBase } from '../adapters/contract/adapter.js'
import type { BaseModel } from '../adapters/contract/base-model.js'
import { selectModules } from '../adapters/files/modules-to-save.js'
import { completeConfig } from '../adapters/new-adapter.js'
import {
  aFlag,
  aFunction,
  aNumber,
  anObject,
  aText,
  atLeast,
  described,
  having,
  instanceOf,
  optional,
  orNull,
  requireArgument,
  requireOptionsOf,
  texts,
  wholeFrom,
  wholes,
} from '../arguments.js'
import { aBatch, type Batch } from '../data/batch.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import type { FloatDType, NativeDevice } from '../native.js'
import type { Linear } from '../nn/linear.js'
import { streamKey } from '../random.js'
import { linearCrossEntropy, targetLogProbs } from '../tensor/operations/loss.js'
import { chooseToken, damagedModel, type TokenChoice } from '../tensor/operations/sampling.js'
import { Parameter } from '../tensor/parameter.js'
import { leaveRoom, requireRoom } from '../tensor/room.js'
import { allOrNothing, scope, scopeOfParts } from '../tensor/scope.js'
import { noGrad, withRecording } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { atOnce, inTurns, type Parts } from '../tensor/turns.js'
import { baseModelOf } from './adaptation/base-of-adapters.js'
import { ModelAdapters, type RestartOptions } from './adaptation/model-adapters.js'
import { type SaveOptions, saveModel } from './adaptation/save-model.js'
import type { Weights } from './checkpoint/initial-weights.js'
import type { ModelSource } from './checkpoint/model-source.js'
import type { ModelConfig } from './families/parse-config.js'
import { Decoder, type ForwardOptions } from './network/decoder.js'
import { KeyValueCache } from './network/key-value-cache.js'
import { untrainedRows } from './network/untrained-rows.js'
import type { WeightSlot } from './network/weight-slot.js'
import { type HeldForTraining, TrainingHold } from './training-hold.js'

export interface ModelParts {
  tokenizer: Tokenizer | null
  weights: Weights
  /** Where pristine weights can be read again; null for a model that was made from random numbers. */
  source: ModelSource | null
  rotaryDtype?: 'float32' | 'bfloat16'
}

/** A causal language model with adapters: what `loadModel` returns. */
export class Model implements Disposable {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer | null
  readonly device: NativeDevice
  /** Of activations and frozen weights. */
  readonly dtype: FloatDType
  readonly source: ModelSource | null
  /** The weights' names and shapes, and the checkpoint's identity. */
  readonly base: BaseModel
  /** Recompute each block's activations in the backward pass: slower, less memory. */
  gradientCheckpointing = false
  /**
   * `int8`: passes that record gradients make the products with frozen weights of the blocks in 8 bits, forwards and backwards.
   * Needs a device with `int8Products`. Evaluation and generation stay as they are.
   */
  compute: 'auto' | 'int8' = 'auto'
  readonly adapterSet: ModelAdapters
  readonly #decoder: Decoder
  readonly #slots: ReadonlyMap<string, WeightSlot>
  readonly #training = new TrainingHold()
  #dropout: { seed: number; step: number } | null = null

  constructor(parts: ModelParts) {
    requireOptionsOf('the parts of a model (loadModel and initModel make one)', parts, { weights: anObject })
    const { tokenizer, weights, source, rotaryDtype = 'float32' } = parts
    this.config = weights.config
    this.tokenizer = tokenizer
    this.source = source
    this.device = weights.device
    this.dtype = weights.dtype
    this.base = baseModelOf(this.config, source)
    this.#decoder = allOrNothing(() => new Decoder(weights, rotaryDtype))
    this.#slots = new Map(this.#decoder.slots.map((slot) => [slot.name, slot]))
    this.adapterSet = new ModelAdapters(this)
  }

  /** On this disk; empty for a model that was made from random numbers. */
  get path(): string {
    return this.source?.path ?? ''
  }

  /** The path as the user gave it, or the hub id with its commit; empty for a model that was made from random numbers. */
  get reference(): string {
    return this.source?.located.reference ?? ''
  }

  /** [V, D] */
  get embeddings(): Tensor {
    return this.#decoder.embeddings
  }

  /** Output head [V, D]: the embeddings themselves where they are tied. */
  get head(): Tensor {
    return this.#decoder.head
  }

  /** Rows of so many tokens are computed otherwise than shorter ones, from their first token on (LongRoPE). */
  get longRowsFrom(): number {
    return this.#decoder.longRowsFrom
  }

  /** Every linear layer of the blocks, in order. */
  linears(): Linear[] {
    return this.#decoder.blocks.flatMap((block) => block.linears())
  }

  /** Every layer that an adapter can go to: those of the blocks, and untied embeddings and head, which only names select. */
  adaptableLayers(): Linear[] {
    return [...this.linears(), ...this.#decoder.tables]
  }

  /** Every weight, in the order of the checkpoint. */
  get slots(): readonly WeightSlot[] {
    return this.#decoder.slots
  }

  /** A weight by its name in Hugging Face's checkpoints. */
  slot(name: string): WeightSlot {
    return this.#slots.get(name)!
  }

  // --- adapters ---------------------------------------------------------------------------------------------------

  get adapters(): ReadonlyMap<string, AdapterConfigBase> {
    return this.adapterSet.configs
  }

  /**
   * Adds a fresh adapter beside the layers that its targets select, and makes it active. Only `pissa`, which decomposes
   * every weight, needs the promise to be awaited; other adapters are there when this returns. `onWarning` hears of ranks
   * that are higher than layers have a use for.
   * @throws UsageError `too-little-memory` before memory is taken for what does not fit
   */
  addAdapter(
    name: string,
    config: AdapterConfigBase,
    options: { seed?: number; onWarning?: (message: string) => void } = {},
  ): Promise<void> {
    requireArgument('name', name, aText)
    requireOptionsOf('the options of addAdapter', options, {
      seed: optional(wholeFrom(0)),
      onWarning: optional(aFunction),
    })
    this.#training.requireNoOther(`adapter ${name} would be added to it`)
    return this.adapterSet.add(name, completeConfig(config), options.seed ?? 0, options.onWarning)
  }

  /**
   * Adds an adapter from a folder of Hugging Face PEFT's layout, or a hub id of one; `name` defaults to `default`. Throws a UsageError
   * `other-base` when the adapter was trained on another base model, unless `allowOtherBase` is set.
   */
  async loadAdapter(
    adapter: string,
    name = 'default',
    options: { allowOtherBase?: boolean } & HubOptions = {},
  ): Promise<AdapterConfigBase> {
    requireArgument('adapter', adapter, described(aText, 'the path or hub id of an adapter'))
    requireArgument('name', name, aText)
    requireOptionsOf('the options of loadAdapter', options, { allowOtherBase: optional(aFlag), ...hubKinds })
    this.#training.requireNoOther(`adapter ${name} would be added to it`)
    return this.adapterSet.load(adapter, name, options)
  }

  /** Writes an adapter; without `modules`, as one that trains no modules whole. */
  async saveAdapter(name: string, folder: string, options: { modules?: boolean } = {}): Promise<void> {
    requireArgument('name', name, aText)
    requireArgument('folder', folder, described(aText, 'the path of a folder'))
    requireOptionsOf('the options of saveAdapter', options, { modules: optional(aFlag) })
    return this.adapterSet.save(name, folder, options)
  }

  /**
   * Adds the adapter's ΔW to the weights, modules trained whole included; it stops taking part in forward passes.
   * Gives the number of weights that it changed.
   * @throws RunError `non-finite` if a result is not finite; nothing is changed then
   */
  async mergeAdapter(name: string): Promise<{ merged: number }> {
    requireArgument('name', name, aText)
    this.#training.requireNone(`adapter ${name} would be merged into its weights`)
    return this.adapterSet.merge(name)
  }

  /** Restores the weights bit for bit, less this adapter's part; the adapter is active again if it was. */
  async unmergeAdapter(name: string): Promise<void> {
    requireArgument('name', name, aText)
    this.#training.requireNone(`adapter ${name} would be taken out of its weights`)
    return this.adapterSet.unmerge(name)
  }

  /**
   * Adds the adapter's ΔW to the weights for good and starts it again at zero beside the same layers: a step of ReMoRA
   * (MoRA, arXiv 2405.12130, section 5.3) or ReLoRA (arXiv 2307.05695). Its tensors are new ones afterwards, so tell the
   * optimizer: `optimizer.setParameters(model.trainableParameters().map(({ parameter }) => parameter))`.
   */
  async restartAdapter(name: string, options: RestartOptions = {}): Promise<void> {
    requireArgument('name', name, aText)
    requireOptionsOf('the options of restartAdapter', options, {
      seed: optional(wholeFrom(0)),
      merge: optional(aFlag),
    })
    this.#training.requireNoOther(`adapter ${name} would be merged and started again`)
    const { config } = options
    return this.adapterSet.restart(
      name,
      config === undefined ? options : { ...options, config: completeConfig(config) },
    )
  }

  /** Adds the ΔW of an adapter in a folder to the weights for good: what a restarted adapter had added before. */
  async absorbAdapter(folder: string): Promise<void> {
    requireArgument('folder', folder, described(aText, 'the path of an adapter folder'))
    this.#training.requireNoOther(`${folder} would be merged into its weights`)
    return this.adapterSet.mergeForGood(folder)
  }

  removeAdapter(name: string): void {
    requireArgument('name', name, aText)
    this.#training.requireNone(`adapter ${name} would be removed from it`)
    this.adapterSet.remove(name)
  }

  /** Only these adapters take part from now on. */
  setActiveAdapters(names: readonly string[]): void {
    requireArgument('names', names, texts)
    this.adapterSet.activate(names)
  }

  /** What names of `modulesToSave` stand for, as adapter files have it; throws with the candidates for an unknown name. */
  moduleNames(names: readonly string[]): readonly string[] {
    requireArgument('names', names, texts)
    return selectModules(names, this.base).names
  }

  /** Multiplies an adapter's contribution from now on; not of a merged adapter. */
  setAdapterScale(name: string, scale: number): void {
    requireArgument('name', name, aText)
    this.adapterSet.setScale(name, scale)
  }

  // --- training ---------------------------------------------------------------------------------------------------

  /**
   * Keeps the model for one run, until that lets it go: others may compute with it and save meanwhile, and not change it.
   * @throws UsageError `in-training` when a run has it
   */
  holdForTraining(): HeldForTraining {
    return this.#training.begin()
  }

  /**
   * Trains every weight of the model itself (`--method full`): they become float32 parameters. Merged adapters become part
   * of them, and are adapters no more.
   */
  trainAll(): void {
    this.#training.requireNoOther('its weights would become trainable')
    this.adapterSet.requireOwnWeights()
    const frozen = this.slots.filter(({ own }) => !(own instanceof Parameter))
    const bytes = frozen.reduce((sum, { own }) => sum + 4 * own.elements, 0)
    requireRoom(this.device, { tensors: bytes }, 'Every weight in float32', 'train an adapter, or a smaller model')
    for (const slot of frozen) {
      slot.replaceOwn(new Parameter(slot.name, this.adapterSet.merged.values(slot)))
    }
    this.#decoder.disposeFused()
    this.adapterSet.absorbMerged()
    this.source?.closeFiles()
  }

  /** Trained tensors: those of active adapters, and weights that `trainAll` made trainable. */
  trainableParameters(): { name: string; parameter: Parameter }[] {
    const weights = this.slots.map(({ current }) => current)
    const parameters = weights.filter((weight) => weight instanceof Parameter)
    for (const linear of this.adaptableLayers()) {
      for (const { layer } of linear.activeAdapters()) parameters.push(...layer.parameters)
    }
    return parameters.map((parameter) => ({ name: parameter.name, parameter }))
  }

  /** Those of `ids` that frozen embeddings or a frozen head were, as it looks, never trained for. */
  async untrainedTokens(ids: readonly number[]): Promise<number[]> {
    requireArgument('ids', ids, wholes)
    const tables = new Set([this.embeddings, this.head].filter((table) => !(table instanceof Parameter)))
    const found = new Set<number>()
    for (const table of tables) for (const id of await untrainedRows(table, ids)) found.add(id)
    return ids.filter((id) => found.has(id))
  }

  /** Turns adapter dropout on, keyed by seed and optimizer step; null turns it off. */
  setDropout(key: { seed: number; step: number } | null): void {
    requireArgument('key', key, orNull(aDropoutKey))
    this.#dropout = key
  }

  /** Sum of cross-entropies over the batch's targets, [1] float32. Rows without a target never reach the head. */
  loss(batch: Batch): { loss: Tensor; targetTokens: number } {
    requireArgument('batch', batch, aBatch)
    return { loss: atOnce(this.#loss(batch)), targetTokens: batch.targetTokens }
  }

  /**
   * The same, enqueued block by block in turns of the event loop, which is not held up for the whole model that way. Nothing
   * may change the model until the promise is settled.
   */
  async lossAsync(
    batch: Batch,
    options: { gradients?: boolean } = {},
  ): Promise<{ loss: Tensor; targetTokens: number }> {
    requireArgument('batch', batch, aBatch)
    requireOptionsOf('the options of lossAsync', options, { gradients: optional(aFlag) })
    const { gradients = true } = options
    const loss = await inTurns(this.#loss(batch), (part) => withRecording(gradients, part))
    return { loss, targetTokens: batch.targetTokens }
  }

  // --- inference --------------------------------------------------------------------------------------------------

  /**
   * Natural log-probability of every target of the batch, in order, from float32 logits.
   * @throws RunError `non-finite`
   */
  async tokenLogProbs(batch: Batch): Promise<Float32Array> {
    requireArgument('batch', batch, aBatch)
    if (batch.targetTokens === 0) return new Float32Array(0)
    const values = await inTurns(scopeOfParts(this.#ofTargets(batch, targetLogProbs)), noGrad)
    const result = (await values.data()) as Float32Array
    values.dispose()
    const odd = result.findIndex((value) => !Number.isFinite(value))
    if (odd >= 0) throw damagedModel(`log-probability of target ${odd + 1} of ${result.length}`, result[odd]!)
    return result
  }

  /** Room for the keys and values of `capacity` tokens, for `next`. */
  createCache(capacity: number): KeyValueCache {
    requireArgument('capacity', capacity, wholeFrom(1))
    return new KeyValueCache(this.config, capacity, this.dtype, this.device)
  }

  /** Reads `ids` after what the cache holds, and gives the logits [V] of what comes next. */
  async next(ids: ArrayLike<number>, cache: KeyValueCache): Promise<Float32Array> {
    requireTokens(ids, cache)
    const logits = this.#read(ids, cache)
    try {
      return (await logits.data()) as Float32Array
    } finally {
      logits.dispose()
    }
  }

  /**
   * Reads `ids` after what the cache holds, and chooses what comes next. Only the chosen id leaves the device.
   * @throws RunError `non-finite`
   */
  async nextToken(ids: ArrayLike<number>, cache: KeyValueCache, choice: TokenChoice): Promise<number> {
    requireTokens(ids, cache)
    requireOptionsOf('choice', choice, {
      ...{ temperature: atLeast(0), topK: wholeFrom(0), topP: aNumber, uniform: atLeast(0) },
    })
    const logits = this.#read(ids, cache)
    try {
      return await chooseToken(logits, choice)
    } finally {
      logits.dispose()
    }
  }

  /**
   * Writes the model into a folder in Hugging Face's layout, or into a GGUF file where the output ends with `.gguf`: merged
   * adapters included, and active ones with `mergeActive`. `dtype` defaults to the source's.
   */
  async save(output: string, options: SaveOptions = {}): Promise<void> {
    return saveModel(this, output, options)
  }

  dispose(): void {
    this.#training.requireNone('dispose would free its memory')
    this.adapterSet.dispose()
    this.#decoder.dispose()
    this.source?.closeFiles()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #loss(batch: Batch): Parts<Tensor> {
    return scopeOfParts(this.#ofTargets(batch, linearCrossEntropy))
  }

  /** What a function of the head makes of the tokens that have a target; a part for each block. */
  *#ofTargets(batch: Batch, evaluate: typeof targetLogProbs): Parts<Tensor> {
    leaveRoom(this.device)
    const { hidden, targets } = yield* this.#decoder.targetStates(batch, this.#forwardOptions())
    return evaluate(hidden, this.head, targets, this.config.network.logits)
  }

  /** Logits [1, V] of what comes next. */
  #read(ids: ArrayLike<number>, cache: KeyValueCache): Tensor {
    const logits = noGrad(() => scope(() => this.#decoder.nextLogits(ids, cache)))
    cache.length += ids.length
    return logits
  }

  #forwardOptions(): ForwardOptions {
    const options: ForwardOptions = { recompute: this.gradientCheckpointing, int8: this.compute === 'int8' }
    const on = this.#dropout
    if (!on) return options
    const dropout = (keys: BigInt64Array) => ({
      rowKeys: Tensor.from(keys, [keys.length], { device: this.device, dtype: 'int64' }),
      key: (layer: string, adapter: string) => streamKey(on.seed, 'dropout', on.step, layer, adapter),
    })
    return { ...options, dropout }
  }
}

const aDropoutKey = having('seed and step of the dropout', 'seed', 'step')

function requireTokens(ids: ArrayLike<number>, cache: KeyValueCache): void {
  requireArgument('ids', ids, wholes)
  requireArgument('cache', cache, instanceOf(KeyValueCache, 'a cache (createCache makes one)'))
}
