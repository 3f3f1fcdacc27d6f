import type { Batch } from '../data/batch.js'
import type { FloatDType, NativeDevice } from '../native.js'
import { Linear } from '../nn/linear.js'
import type { DropoutState } from '../nn/linear-input.js'
import { RotaryTables } from '../nn/rotary.js'
import { recomputed } from '../tensor/checkpoint.js'
import { embedding, gatherRows } from '../tensor/operations/embedding.js'
import { logitsOf } from '../tensor/operations/loss.js'
import { rmsNorm } from '../tensor/operations/norm.js'
import { Tensor } from '../tensor/tensor.js'
import type { ModelConfig } from './config.js'
import type { ForwardContext } from './forward-context.js'
import type { KeyValueCache } from './key-value-cache.js'
import { LlamaBlock } from './llama.js'
import { WeightSlot } from './weight-slot.js'
import type { Weights } from './weights.js'

export interface ForwardOptions {
  dropout?: (rowKeys: BigInt64Array) => DropoutState
  /** Recompute each block's activations in the backward pass. */
  recompute?: boolean
}

/** The network of the Llama family: embeddings, blocks, a final norm and the output head. */
export class LlamaDecoder {
  readonly config: ModelConfig
  readonly device: NativeDevice
  /** Of activations and frozen weights. */
  readonly dtype: FloatDType
  readonly blocks: readonly LlamaBlock[]
  /** [V, D] */
  readonly embeddingTable: Linear
  finalNorm: Tensor
  /** Output head [V, D]; null where it is the embeddings. */
  readonly untiedHead: Linear | null
  /** Every weight, in the order of the checkpoint. */
  readonly slots: readonly WeightSlot[]
  readonly #rotary: RotaryTables

  constructor(weights: Weights, rotaryDtype: 'float32' | 'bfloat16') {
    const { config, device, dtype } = weights
    this.config = config
    this.device = device
    this.dtype = dtype
    const [embeddings, norm, head] = ['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight'] as const
    this.embeddingTable = tableOf(embeddings, weights, 'embeddings')
    this.blocks = Array.from({ length: config.layers }, (_, i) => new LlamaBlock(i, weights))
    this.finalNorm = weights.norm(norm)
    this.untiedHead = config.tiedEmbeddings ? null : tableOf(head, weights, 'head')
    this.slots = [
      ...WeightSlot.ofLinear(this.embeddingTable),
      ...this.blocks.flatMap(({ slots }) => slots),
      WeightSlot.of(norm, this, 'finalNorm'),
      ...(this.untiedHead ? WeightSlot.ofLinear(this.untiedHead) : []),
    ]
    const { ropeTheta: theta, headSize, ropeScaling: scaling } = config
    this.#rotary = new RotaryTables({ theta, headSize, scaling, dtype: rotaryDtype }, device)
  }

  get head(): Tensor {
    return (this.untiedHead ?? this.embeddingTable).adaptedWeight()
  }

  get embeddings(): Tensor {
    return this.embeddingTable.adaptedWeight()
  }

  /** Layers outside the blocks that adapters can go to: none where the head is the embeddings. */
  get tables(): readonly Linear[] {
    return this.untiedHead ? [this.embeddingTable, this.untiedHead] : []
  }

  /** Normed hidden states [N, D] of the batch's tokens that have a target, and the targets [N]. */
  targetStates(batch: Batch, options: ForwardOptions = {}): { hidden: Tensor; targets: Tensor } {
    const rows: number[] = []
    for (const [i, target] of batch.targets.entries()) if (target >= 0) rows.push(i)
    const hidden = gatherRows(this.#hiddenStates(batch, options), this.#integers(Int32Array.from(rows)))
    return {
      hidden: rmsNorm(hidden, this.finalNorm, this.config.epsilon),
      targets: this.#integers(Int32Array.from(rows, (row) => batch.targets[row]!)),
    }
  }

  /** Logits [1, V] of what follows `ids`, which come after what the cache holds; no gradients. */
  nextLogits(ids: ArrayLike<number>, cache: KeyValueCache): Tensor {
    const { length: start } = cache
    const positions = this.#integers(Int32Array.from(ids, (_, i) => start + i))
    const rotary = { ...this.#rotary.upTo(start + ids.length), positions }
    const offsets = this.#integers(Int32Array.of(0, ids.length))
    const context: ForwardContext = { rotary, offsets, dropout: null }
    let x = embedding(this.embeddings, this.#integers(Int32Array.from(ids)), this.dtype)
    for (const block of this.blocks) x = block.forwardCached(x, context, cache)
    const last = rmsNorm(x.rows(ids.length - 1, ids.length), this.finalNorm, this.config.epsilon)
    return logitsOf(last, this.head)
  }

  /** Frees what the layers of the blocks share: their weights no longer lie in it. */
  disposeFused(): void {
    for (const { queryKeyValue, gateUp } of this.blocks) {
      for (const { fused } of [queryKeyValue, gateUp]) if (!fused.disposed) fused.dispose()
    }
  }

  dispose(): void {
    this.#rotary.dispose()
    for (const { own } of this.slots) if (!own.disposed) own.dispose()
    this.disposeFused()
  }

  #integers(values: Int32Array): Tensor {
    return Tensor.from(values, [values.length], { device: this.device, dtype: 'int32' })
  }

  #hiddenStates(batch: Batch, { dropout, recompute = false }: ForwardOptions): Tensor {
    let longest = 1
    for (const position of batch.positions) longest = Math.max(longest, position + 1)
    const rotary = { ...this.#rotary.upTo(longest), positions: this.#integers(batch.positions) }
    const context: ForwardContext = {
      rotary,
      offsets: this.#integers(batch.offsets),
      dropout: dropout?.(batch.rowKeys) ?? null,
    }
    const constants = [...Object.values(rotary), context.offsets, ...(context.dropout ? [context.dropout.rowKeys] : [])]
    let x = embedding(this.embeddings, this.#integers(batch.ids), this.dtype)
    for (const block of this.blocks) {
      const forward = (input: Tensor) => block.forward(input, context)
      x = recompute ? recomputed(forward, x, trainedIn(block), constants) : forward(x)
    }
    return x
  }
}

function trainedIn(block: LlamaBlock): Tensor[] {
  const weights = block.slots.map(({ current }) => current)
  for (const linear of block.linears()) {
    for (const { layer } of linear.activeAdapters()) weights.push(...layer.parameters)
  }
  return weights.filter((weight) => weight.requiresGrad)
}

/** An embedding's or head's table, of the checkpoint's weight of this name. */
function tableOf(weight: string, weights: Weights, role: 'embeddings' | 'head'): Linear {
  return new Linear(weight.replace(/\.weight$/, ''), weights.weight(weight), null, role)
}
