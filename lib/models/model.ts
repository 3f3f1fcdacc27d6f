import type { AdapterConfigBase } from '../adapters/adapter.js'
import type { Batch } from '../data/batch.js'
import { streamKey } from '../data/philox.js'
import type { Tokenizer } from '../data/tokenizer.js'
import type { FloatDType, NativeDevice } from '../native.js'
import type { Linear } from '../nn/linear.js'
import type { DropoutState } from '../nn/linear-input.js'
import { RotaryTables } from '../nn/rotary.js'
import { recomputed } from '../tensor/checkpoint.js'
import { embedding, gatherRows } from '../tensor/operations/embedding.js'
import { linearCrossEntropy, logitsOf, targetLogProbs } from '../tensor/operations/loss.js'
import { rmsNorm } from '../tensor/operations/norm.js'
import { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { noGrad } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import { ModelAdapters } from './adapters.js'
import type { ModelConfig } from './config.js'
import type { ForwardContext } from './forward-context.js'
import { KeyValueCache } from './key-value-cache.js'
import { LlamaBlock } from './llama.js'
import { saveModel } from './save.js'
import type { ModelSource } from './source.js'
import type { Weights } from './weights.js'

export interface ModelParts {
  config: ModelConfig
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
  readonly blocks: readonly LlamaBlock[]
  /** [V, D] */
  embeddings: Tensor
  finalNorm: Tensor
  /** Output head [V, D]; null where it is the embeddings. */
  untiedHead: Tensor | null
  /** Recompute each block's activations in the backward pass: slower, less memory. */
  gradientCheckpointing = false
  readonly adapterSet: ModelAdapters
  readonly #rotary: RotaryTables
  #dropout: { seed: number; step: number } | null = null

  constructor({ config, tokenizer, weights, source, rotaryDtype = 'float32' }: ModelParts) {
    this.config = config
    this.tokenizer = tokenizer
    this.source = source
    this.device = weights.device
    this.dtype = weights.dtype
    const matrix: [number, number] = [config.vocabularySize, config.hiddenSize]
    this.embeddings = weights.matrix('model.embed_tokens.weight', matrix)
    this.blocks = Array.from({ length: config.layers }, (_, i) => new LlamaBlock(config, i, weights))
    this.finalNorm = weights.vector('model.norm.weight', config.hiddenSize)
    this.untiedHead = config.tiedEmbeddings ? null : weights.matrix('lm_head.weight', matrix)
    const { ropeTheta: theta, headSize, ropeScaling: scaling } = config
    this.#rotary = new RotaryTables({ theta, headSize, scaling, dtype: rotaryDtype }, this.device)
    this.adapterSet = new ModelAdapters(this)
  }

  /** Path as the user gave it; empty for a model that was made from random numbers. */
  get path(): string {
    return this.source?.path ?? ''
  }

  get head(): Tensor {
    return this.untiedHead ?? this.embeddings
  }

  /** Every linear layer of the blocks, in order. */
  linears(): Linear[] {
    return this.blocks.flatMap((block) => block.linears())
  }

  // --- adapters ---------------------------------------------------------------------------------------------------

  get adapters(): ReadonlyMap<string, AdapterConfigBase> {
    return this.adapterSet.configs
  }

  /** Adds a fresh adapter beside the layers that its targets select, and makes it active. */
  addAdapter(name: string, config: AdapterConfigBase, options: { seed?: number } = {}): void {
    this.adapterSet.add(name, config, options.seed ?? 0)
  }

  /** Adds an adapter from a folder of Hugging Face PEFT's layout; `name` defaults to `default`. */
  loadAdapter(folder: string, name = 'default'): Promise<AdapterConfigBase> {
    return this.adapterSet.load(folder, name)
  }

  saveAdapter(name: string, folder: string): Promise<void> {
    return this.adapterSet.save(name, folder)
  }

  /** Adds the adapter's ΔW to the weights; its layers stop taking part in forward passes. */
  mergeAdapter(name: string): Promise<{ merged: number; maxAbsoluteChange: number }> {
    return this.adapterSet.merge(name)
  }

  /** Restores the weights bit for bit, less this adapter's part. */
  unmergeAdapter(name: string): Promise<void> {
    return this.adapterSet.unmerge(name)
  }

  removeAdapter(name: string): void {
    this.adapterSet.remove(name)
  }

  /** Only these adapters take part from now on. */
  setActiveAdapters(names: readonly string[]): void {
    this.adapterSet.activate(names)
  }

  /** Multiplies an adapter's contribution from now on; not of a merged adapter. */
  setAdapterScale(name: string, scale: number): void {
    this.adapterSet.setScale(name, scale)
  }

  // --- training ---------------------------------------------------------------------------------------------------

  /** Trains every weight of the model itself (`--method full`): they become float32 parameters. */
  trainAll(): void {
    const train = (name: string, weight: Tensor): Parameter => {
      if (weight instanceof Parameter) return weight
      const values = Tensor.empty(weight.shape, { device: this.device })
      if (this.source) this.source.loadInto(name, values)
      else values.copyFrom(weight)
      weight.dispose()
      return new Parameter(name, values)
    }
    this.embeddings = train('model.embed_tokens.weight', this.embeddings)
    this.finalNorm = train('model.norm.weight', this.finalNorm)
    if (this.untiedHead) this.untiedHead = train('lm_head.weight', this.untiedHead)
    for (const block of this.blocks) {
      const path = `model.layers.${block.index}`
      block.attentionNorm = train(`${path}.input_layernorm.weight`, block.attentionNorm)
      block.mlpNorm = train(`${path}.post_attention_layernorm.weight`, block.mlpNorm)
      for (const linear of block.linears()) {
        linear.weight = train(`${linear.name}.weight`, linear.weight)
        if (linear.bias) linear.bias = train(`${linear.name}.bias`, linear.bias)
      }
      for (const group of [block.queryKeyValue, block.gateUp]) group.fused.dispose()
    }
    this.source?.unmap()
  }

  /** Trained tensors: those of active adapters, and weights that `trainAll` made trainable. */
  trainableParameters(): { name: string; parameter: Parameter }[] {
    const linears = this.linears()
    const weights = [this.embeddings, this.finalNorm, this.untiedHead]
    for (const { attentionNorm, mlpNorm } of this.blocks) weights.push(attentionNorm, mlpNorm)
    for (const { weight, bias } of linears) weights.push(weight, bias)
    const parameters = weights.filter((weight): weight is Parameter => weight instanceof Parameter)
    for (const linear of linears) for (const { layer } of linear.activeAdapters()) parameters.push(...layer.parameters)
    return parameters.map((parameter) => ({ name: parameter.name, parameter }))
  }

  /** Turns adapter dropout on, keyed by seed and optimizer step; null turns it off. */
  setDropout(key: { seed: number; step: number } | null): void {
    this.#dropout = key
  }

  /** Sum of cross-entropies over the batch's targets, [1] float32. Rows without a target never reach the head. */
  loss(batch: Batch): { loss: Tensor; targetTokens: number } {
    const loss = scope(() => {
      const { hidden, targets } = this.#targetStates(batch)
      return linearCrossEntropy(hidden, this.head, targets)
    })
    return { loss, targetTokens: batch.targetTokens }
  }

  // --- inference --------------------------------------------------------------------------------------------------

  /** Natural log-probability of every target of the batch, in order, from float32 logits. */
  async tokenLogProbs(batch: Batch): Promise<Float32Array> {
    if (batch.targetTokens === 0) return new Float32Array(0)
    const values = noGrad(() =>
      scope(() => {
        const { hidden, targets } = this.#targetStates(batch)
        return targetLogProbs(hidden, this.head, targets)
      }),
    )
    const result = (await values.data()) as Float32Array
    values.dispose()
    return result
  }

  /** Room for the keys and values of `capacity` tokens, for `next`. */
  createCache(capacity: number): KeyValueCache {
    return new KeyValueCache(this.config, capacity, this.dtype, this.device)
  }

  /** Reads `ids` after what the cache holds, and gives the logits [V] of what comes next. */
  async next(ids: ArrayLike<number>, cache: KeyValueCache): Promise<Float32Array> {
    const start = cache.length
    const logits = noGrad(() =>
      scope(() => {
        const integers = (values: Int32Array) => this.#integers(values)
        const positions = integers(Int32Array.from(ids, (_, i) => start + i))
        const rotary = { ...this.#rotary.upTo(start + ids.length), positions }
        const context: ForwardContext = { rotary, offsets: integers(Int32Array.of(0, ids.length)), dropout: null }
        let x = embedding(this.embeddings, integers(Int32Array.from(ids)), this.dtype)
        for (const block of this.blocks) x = block.forwardCached(x, context, cache)
        const last = rmsNorm(x.rows(ids.length - 1, ids.length), this.finalNorm, this.config.epsilon)
        return logitsOf(last, this.head)
      }),
    )
    cache.length += ids.length
    const values = (await logits.data()) as Float32Array
    logits.dispose()
    return values
  }

  /** Writes the model in Hugging Face's layout, merged adapters included; `dtype` defaults to the source's. */
  save(folder: string, options: { dtype?: FloatDType } = {}): Promise<void> {
    return saveModel(this, folder, options)
  }

  dispose(): void {
    this.adapterSet.dispose()
    this.#rotary.dispose()
    const tensors = [this.embeddings, this.finalNorm, this.untiedHead]
    for (const block of this.blocks) {
      tensors.push(block.attentionNorm, block.mlpNorm, block.queryKeyValue.fused, block.gateUp.fused)
      for (const { weight, bias } of block.linears()) tensors.push(weight, bias)
    }
    for (const tensor of tensors) if (tensor && !tensor.disposed) tensor.dispose()
    this.source?.unmap()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #integers(values: Int32Array): Tensor {
    return Tensor.from(values, [values.length], { device: this.device, dtype: 'int32' })
  }

  /** Normed hidden states [N, D] of the tokens that have a target, and the targets [N]. */
  #targetStates(batch: Batch): { hidden: Tensor; targets: Tensor } {
    const rows: number[] = []
    for (const [i, target] of batch.targets.entries()) if (target >= 0) rows.push(i)
    const hidden = gatherRows(this.#hiddenStates(batch), this.#integers(Int32Array.from(rows)))
    return {
      hidden: rmsNorm(hidden, this.finalNorm, this.config.epsilon),
      targets: this.#integers(Int32Array.from(rows, (row) => batch.targets[row]!)),
    }
  }

  #hiddenStates(batch: Batch): Tensor {
    let longest = 1
    for (const position of batch.positions) longest = Math.max(longest, position + 1)
    const rotary = { ...this.#rotary.upTo(longest), positions: this.#integers(batch.positions) }
    const context: ForwardContext = {
      rotary,
      offsets: this.#integers(batch.offsets),
      dropout: this.#dropoutState(batch),
    }
    const constants = [...Object.values(rotary), context.offsets, ...(context.dropout ? [context.dropout.rowKeys] : [])]
    let x = embedding(this.embeddings, this.#integers(batch.ids), this.dtype)
    for (const block of this.blocks) {
      const forward = (input: Tensor) => block.forward(input, context)
      x = this.gradientCheckpointing ? recomputed(forward, x, this.#parametersOf(block), constants) : forward(x)
    }
    return x
  }

  #parametersOf(block: LlamaBlock): Tensor[] {
    const weights = [block.attentionNorm, block.mlpNorm]
    for (const linear of block.linears()) {
      weights.push(linear.weight)
      if (linear.bias) weights.push(linear.bias)
      for (const { layer } of linear.activeAdapters()) weights.push(...layer.parameters)
    }
    return weights.filter((weight) => weight.requiresGrad)
  }

  #dropoutState(batch: Batch): DropoutState | null {
    const on = this.#dropout
    if (!on) return null
    const rowKeys = Tensor.from(batch.rowKeys, [batch.rowKeys.length], { device: this.device, dtype: 'int64' })
    return { rowKeys, key: (layer, adapter) => streamKey(on.seed, 'dropout', on.step, layer, adapter) }
  }
}
