import { SCORE_WEIGHT } from '../../adapters/contract/base-model.js'
import type { Batch } from '../../batches/batch.js'
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { FloatDType, NativeDevice } from '../../native/addon.js'
import { Linear } from '../../nn/linear.js'
import type { DropoutState, RowAdapters } from '../../nn/linear-input.js'
import { longRowsFrom, type RotaryPlan, RotaryTables, stretchedRowsFrom, type TokenPositions } from '../../nn/rotary.js'
import { recomputed } from '../../tensor/checkpoint.js'
import { roundedTo } from '../../tensor/half.js'
import { add, cast } from '../../tensor/operations/arithmetic.js'
import { embedding, gatherRows, sliceColumns } from '../../tensor/operations/indexing.js'
import { logitsOf, targetLogProbs } from '../../tensor/operations/loss.js'
import { addResidual } from '../../tensor/operations/norm.js'
import { scaled } from '../../tensor/operations/scaled.js'
import { allOrNothing } from '../../tensor/scope.js'
import type { Shards } from '../../tensor/shards.js'
import type { Steps } from '../../tensor/steps.js'
import { isRecording } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'
import { type Weight, weightOf } from '../../tensor/weight.js'
import { DecoderBlock } from './decoder-block.js'
import { embeddingNoise } from './embedding-noise.js'
import type { NetworkWeights } from './linear-layers.js'
import type { ForwardContext } from './mixer.js'
import type { ModelConfig } from './model-config.js'
import { Norm } from './norm.js'
import { PerLayerInputs } from './per-layer-inputs.js'
import { type NetworkPlan, rotaryPlans } from './plan.js'
import type { TokenMemory } from './token-memory.js'
import { type TokenInputs, TokenStep } from './token-step.js'
import { unitsOfPass } from './units.js'
import { trainedTensors, WeightSlot } from './weight-slot.js'

export interface ForwardOptions {
  dropout?: (rowKeys: BigInt64Array) => DropoutState
  /** Noise on the embeddings. */
  noise?: Parameters<typeof embeddingNoise>[2] | undefined
  /** Recompute each block's activations in the backward pass. */
  recompute?: boolean
  /** Compute products with the blocks' frozen weights in 8 bits where gradients are recorded. */
  int8?: boolean
  /** Indices of the blocks that the pass goes through: all by default. */
  blocks?: readonly number[] | undefined
  /** Runs a block again, in the backward pass, with the adapters of its forward pass. */
  within?: <Result>(part: () => Result) => Result
}

/** Maximum number of sequences of a recorded pass, which keeps its intermediate results in memory. */
const MOST_RECORDED = 32

/** The network of a model: embeddings, blocks, a final norm and the output head. */
export class Decoder {
  readonly config: ModelConfig
  readonly network: NetworkPlan
  readonly device: NativeDevice
  /** The dtype of activations and frozen weights. */
  readonly dtype: FloatDType
  readonly blocks: readonly DecoderBlock[]
  /** [V, D] */
  readonly embeddingTable: Linear
  /** Learned positions [P, D], where there are any. */
  positions: Weight | null
  readonly perLayer: PerLayerInputs | null
  readonly finalNorm: Norm
  /** Output head [V, D]; null where it is tied to the embeddings. */
  readonly untiedHead: Linear | null
  /** Head of labels [labels, D] in float32; null without one. */
  score: Weight | null
  /** Every weight, in the order of the checkpoint. */
  readonly slots: WeightSlot[]
  /** The shards of the matrices; null if ranks do not shard them. */
  readonly shards: Shards | null
  /** Rows of at least this many tokens use different rotary angles. */
  readonly longRowsFrom: number
  /** Rows that are shorter than this have the same rotary angles. */
  readonly alikeBelow: number
  readonly #rotary: ReadonlyMap<RotaryPlan, RotaryTables>

  constructor(weights: NetworkWeights, rotaryDtype: 'float32' | 'bfloat16') {
    const { config, device, dtype } = weights
    const { network } = config
    this.config = config
    this.network = network
    this.device = device
    this.dtype = dtype
    this.shards = weights.shards ?? null
    const positions = network.positions && `${network.positions}.weight`
    this.embeddingTable = tableOf(network.embeddings, weights, 'embeddings')
    this.positions = positions ? weights.weight(positions) : null
    this.perLayer = network.perLayer ? new PerLayerInputs(network.perLayer, weights) : null
    this.blocks = network.blocks.map((plan) => new DecoderBlock(plan, weights))
    this.finalNorm = new Norm(network.finalNorm, weights)
    this.untiedHead = config.tiedEmbeddings ? null : tableOf(network.head, weights, 'head')
    this.score = config.labels ? weightOf(weights.float32(SCORE_WEIGHT)) : null
    this.slots = [
      ...WeightSlot.ofLinear(this.embeddingTable),
      ...(positions ? [WeightSlot.ofWeight(positions, this, 'positions')] : []),
      ...(this.perLayer?.slots ?? []),
      ...this.blocks.flatMap(({ slots }) => slots),
      ...this.finalNorm.slots,
      ...(this.untiedHead ? WeightSlot.ofLinear(this.untiedHead) : []),
      ...(this.score ? [WeightSlot.ofWeight(SCORE_WEIGHT, this, 'score')] : []),
    ]
    this.longRowsFrom = Math.min(...rotaryPlans(network).map(longRowsFrom))
    this.alikeBelow = Math.min(this.longRowsFrom, ...rotaryPlans(network).map(stretchedRowsFrom))
    this.#rotary = new Map(rotaryPlans(network).map((plan) => [plan, new RotaryTables(plan, rotaryDtype, device)]))
  }

  /** The table of the output head [V, D]: the embeddings' where they are tied. */
  get headTable(): Linear {
    return this.untiedHead ?? this.embeddingTable
  }

  /** Adds a head of labels [labels, D] to a network that has none, and returns its place. */
  addScore(values: Tensor): WeightSlot {
    this.score = weightOf(values)
    const slot = WeightSlot.ofWeight(SCORE_WEIGHT, this, 'score')
    this.slots.push(slot)
    return slot
  }

  /**
   * The head's weight with what adapters add, for one product: owned by the running scope.
   * @throws UsageError `no-head` in a classifier
   */
  adaptedHead(): Weight {
    if (this.config.labels) {
      throw new UsageError(
        'no-head',
        'The model is a classifier or a reward model: it scores texts, and has no head that predicts or writes them.',
      )
    }
    return this.headTable.adaptedWeight()
  }

  /** Every linear layer but tables, in order. */
  linears(): Linear[] {
    return [...(this.perLayer ? [this.perLayer.projection] : []), ...this.blocks.flatMap((block) => block.linears())]
  }

  /** Tables that can have adapters: none where the head is tied to the embeddings. */
  get tables(): readonly Linear[] {
    return this.untiedHead ? [this.embeddingTable, this.untiedHead] : []
  }

  /** Announces the sharded matrices that a pass through these blocks, by default all, is going to need. */
  beginPass(gradients: boolean, blocks?: readonly number[], onPast?: (unit: number) => void): void {
    this.shards?.begin(unitsOfPass(this.config, gradients ? this.firstTrained() : null, blocks), onPast)
  }

  /**
   * Computes the normed hidden states [N, D] of the batch's tokens that have a target, and the targets [N]; yields after each
   * block.
   */
  *targetStates(batch: Batch, options: ForwardOptions = {}): Steps<{ hidden: Tensor; targets: Tensor }> {
    const rows = rowsOfTargets(batch)
    return {
      hidden: yield* this.normedStates(batch, rows, options),
      targets: this.#integers(Int32Array.from(rows, (row) => batch.targets[row]!)),
    }
  }

  /** Computes the normed hidden states of the tokens at `rows` [N, D], or of all tokens; yields after each block. */
  *normedStates(batch: Batch, rows: ArrayLike<number> | null, options: ForwardOptions = {}): Steps<Tensor> {
    const states = yield* this.#hiddenStates(batch, options)
    if (!rows) return this.finalNorm.forward(states)
    const picked = gatherRows(states, rows)
    states.dispose()
    return this.finalNorm.forward(picked)
  }

  /**
   * Prefills or decodes: reads the next tokens of several sequences, after the tokens in the memory, and returns the logits
   * [sequences, V] of each sequence's next token, without gradients.
   */
  nextLogitsOf(parts: readonly SequencePart[], memory: TokenMemory): Tensor {
    if (this.#readsOneTokenEach(parts)) return this.#afterOneEach(parts, memory)
    const inputs = this.#inputsOf(parts)
    return this.#logitsOfLast(inputs.tokens, this.#statesAfter(inputs, memory))
  }

  /**
   * Reads the next tokens of several sequences, as `nextLogitsOf` does, and returns the log-probabilities [targets] of `ids`, each
   * after the token in a row of the pass, without gradients.
   */
  *logProbsOf(
    parts: readonly SequencePart[],
    targets: { readonly rows: readonly number[]; readonly ids: readonly number[] },
    memory: TokenMemory,
  ): Steps<Tensor> {
    const states = gatherRows(this.#statesAfter(this.#inputsOf(parts), memory), targets.rows)
    const ids = this.#integers(Int32Array.from(targets.ids))
    return yield* targetLogProbs(this.finalNorm.forward(states), this.adaptedHead(), ids, this.network.logits)
  }

  /** Whether a pass decodes one token of each sequence, with the rotary angles of any row. */
  #readsOneTokenEach(parts: readonly SequencePart[]): boolean {
    return (
      parts.length <= MOST_RECORDED &&
      parts.every(({ ids, rowLength }) => ids.length === 1 && rowLength < this.alikeBelow)
    )
  }

  #inputsOf(parts: readonly SequencePart[]): PassInputs {
    const lengths = parts.map(({ ids }) => ids.length)
    const queryStarts = starts(lengths)
    const of = (value: (part: SequencePart, token: number) => number) =>
      Int32Array.from(parts.flatMap((part) => Array.from(part.ids, (_, token) => value(part, token))))
    const positions = of(({ ids, known }, token) => known - ids.length + token)
    const onDevice = this.#integers(positions)
    const rotary = this.#rotaryInputs({ positions, onDevice, rowLengths: of(({ rowLength }) => rowLength) })
    const tokens = {
      ids: this.#integers(of(({ ids }, token) => ids[token]!)),
      positions: onDevice,
      rows: parts[0]!.rows
        ? this.#integers(of(({ ids, known, rows }, token) => rows![known - ids.length + token]!))
        : onDevice,
      queryOffsets: this.#integers(queryStarts),
      keyOffsets: this.#integers(starts(parts.map(({ known }) => known))),
      keyRows: parts[0]!.rows ? this.#integers(rowsOf(parts)) : null,
      sequences: parts.map(({ slot }, i) => ({ from: queryStarts[i]!, to: queryStarts[i + 1]!, slot })),
    }
    return { tokens, rotary, rowAdapters: rowAdaptersOf(parts, tokens) }
  }

  /** Decodes one token of each sequence, by a pass that is recorded the first time. */
  #afterOneEach(parts: readonly SequencePart[], memory: TokenMemory): Tensor {
    const known = parts.map((part) => part.known)
    this.#requirePositions(Math.max(...known))
    const [{ rows }] = parts as [SequencePart]
    const slots = parts.map(({ slot }) => slot)
    const state = [...this.state(), ...this.#stateOfRows(parts), rows === null, ...slots]
    const keys = known.reduce((sum, count) => sum + count, 0)
    if (!memory.step?.fits(state, keys)) {
      memory.step?.dispose()
      memory.step = null
      const forward = (inputs: TokenInputs) => {
        // Tables for every position of a row: the memory of many rows has more room than one takes.
        const most = rows ? Math.min(memory.capacity, this.config.maxPositions) : memory.capacity
        const last = { positions: Int32Array.of(most - 1), rowLengths: Int32Array.of(1) }
        const rotary = this.#rotaryTables({ ...last, onDevice: inputs.positions })
        const rowAdapters = rowAdaptersOf(parts, inputs)
        return this.#logitsOfLast(inputs, this.#statesAfter({ tokens: inputs, rotary, rowAdapters }, memory))
      }
      // Sequences that share pages may have more tokens together than the memory.
      const capacity = rows && Math.max(memory.capacity, 2 * keys)
      memory.step = allOrNothing(() => new TokenStep(this.device, { state, slots, capacity }, forward))
    }
    return memory.step.next(parts)
  }

  /** Computes the hidden states [T, D] of the tokens read. */
  #statesAfter({ tokens, rotary, rowAdapters }: PassInputs, memory: TokenMemory): Tensor {
    const { ids, positions, ...places } = tokens
    const context: ForwardContext = { rotary, offsets: places.queryOffsets, dropout: null, int8: false, rowAdapters }
    let x = this.#embedded(ids, positions)
    const perLayer = this.#perLayerInputs(ids, x, context)
    for (const [i, block] of this.blocks.entries()) {
      const past = { ...places, memory: memory.blocks[block.source ?? i]! }
      x = block.forward(x, { ...context, ...perLayer(i) }, past)
    }
    return x
  }

  /** Returns the logits after the last token of each sequence. */
  #logitsOfLast({ sequences }: TokenInputs, x: Tensor): Tensor {
    const last = sequences.map(({ to }) => to - 1)
    const picked =
      last.length === x.shape[0] ? x : last.length === 1 ? x.rows(last[0]!, last[0]! + 1) : gatherRows(x, last)
    return logitsOf(this.finalNorm.forward(picked), this.adaptedHead(), this.network.logits)
  }

  /** Returns everything that forward passes depend on besides their inputs: weights, active adapters, and versions of their values. */
  state(): unknown[] {
    const state: unknown[] = []
    for (const { current } of this.slots) state.push(current, current.tensors[0]!.version)
    for (const linear of [...this.linears(), ...this.tables]) {
      for (const { layer, scale } of linear.activeAdapters())
        state.push(layer, scale, ...layer.parameters.map(({ version }) => version))
    }
    return state
  }

  /** Returns what a pass depends on besides `state` if sequences have adapters of their own: their factors, layers, and versions. */
  #stateOfRows(parts: readonly SequencePart[]): unknown[] {
    const state: unknown[] = []
    const names = new Set<string>()
    for (const { factors } of parts) {
      state.push(factors?.size ?? 0)
      for (const [name, factor] of factors ?? []) {
        names.add(name)
        state.push(name, factor)
      }
    }
    if (names.size === 0) return state
    for (const { adapters } of this.linears()) {
      for (const name of names) {
        const layer = adapters.get(name)?.layer
        state.push(layer)
        for (const { version } of layer?.parameters ?? []) state.push(version)
      }
    }
    return state
  }

  /** Returns the first unit that has trained weights or adapters; null if none has. */
  firstTrained(): number | null {
    const tables = [this.embeddingTable.weight, this.positions].some((table) => table?.parameter)
    const linears = [this.embeddingTable, ...(this.perLayer ? [this.perLayer.projection] : [])]
    const units = [
      tables || trainedTensors(this.perLayer?.slots ?? [], linears).length > 0,
      ...this.blocks.map((block) => trainedTensors(block.slots, block.linears()).length > 0),
    ]
    const first = units.indexOf(true)
    return first < 0 ? null : first
  }

  /** Frees the memory that layers of the blocks shared, once their weights are elsewhere. */
  disposeFused(): void {
    for (const block of this.blocks) block.disposeFused()
  }

  dispose(): void {
    for (const tables of this.#rotary.values()) tables.dispose()
    for (const { own } of this.slots) if (!own.disposed) own.dispose()
    this.disposeFused()
    this.shards?.dispose()
  }

  #integers(values: Int32Array): Tensor {
    return Tensor.from(values, [values.length], { device: this.device, dtype: 'int32' })
  }

  #rotaryInputs(tokens: TokenPositions): ForwardContext['rotary'] {
    this.#requirePositions(tokens.positions.reduce((longest, position) => Math.max(longest, position + 1), 0))
    return this.#rotaryTables(tokens)
  }

  #rotaryTables(tokens: TokenPositions): ForwardContext['rotary'] {
    return new Map([...this.#rotary].map(([plan, tables]) => [plan, tables.at(tokens)]))
  }

  #requirePositions(length: number): void {
    const { maxPositions } = this.config
    if (!this.positions || length <= maxPositions) return
    throw new UsageError(
      'too-long',
      `The model has learned ${maxPositions} positions, and a row of ${length} tokens needs more: make rows shorter with ${optionName('maxLength')}.`,
    )
  }

  #embedded(ids: Tensor, positions: Tensor, noise?: Tensor): Tensor {
    const scale = roundedTo(this.dtype, this.network.embeddingScale)
    const read = embedding(this.embeddingTable.adaptedWeight(), ids, this.dtype)
    const x = scaled(noise ? add(read, cast(noise, this.dtype)) : read, scale)
    return this.positions ? addResidual(embedding(this.positions, positions, this.dtype), x) : x
  }

  /** Returns a function of each block's own input, from tokens `ids` and their embeddings x. */
  #perLayerInputs(ids: Tensor, x: Tensor, context: ForwardContext): (block: number) => { perLayer?: Tensor } {
    const { perLayer } = this
    if (!perLayer) return () => ({})
    const all = perLayer.forward(ids, x, context)
    const { size } = perLayer.plan
    return (block) => ({ perLayer: sliceColumns(all, block * size, (block + 1) * size) })
  }

  *#hiddenStates(
    batch: Batch,
    { dropout, noise, recompute = false, int8 = false, blocks, within = (part) => part() }: ForwardOptions,
  ): Steps<Tensor> {
    const { positions } = batch
    const onDevice = this.#integers(positions)
    const context: ForwardContext = {
      rotary: this.#rotaryInputs({ positions, onDevice, rowLengths: rowLengths(batch) }),
      offsets: this.#integers(batch.offsets),
      dropout: dropout?.(batch.rowKeys) ?? null,
      int8: int8 && isRecording(),
    }
    const inputs = [...context.rotary.values()].flatMap((input): Tensor[] => Object.values(input))
    const constants = [...inputs, onDevice, context.offsets, ...(context.dropout ? [context.dropout.rowKeys] : [])]
    const ids = this.#integers(batch.ids)
    const width = this.config.hiddenSize
    let x = this.#embedded(ids, onDevice, noise && embeddingNoise(batch, width, noise, this.device))
    const perLayer = this.#perLayerInputs(ids, x, context)
    const keysValues = new Map<number, Tensor>()
    for (const place of blocks ?? this.blocks.keys()) {
      const block = this.blocks[place]!
      const run = <Inputs extends object>(body: (inputs: Inputs) => Tensor, from: Inputs) => {
        const forward = (inputs: Inputs) => within(() => body(inputs))
        return recompute
          ? recomputed(forward, from, trainedTensors(block.slots, block.linears()), constants)
          : forward(from)
      }
      if (block.isSource)
        keysValues.set(
          place,
          run((from) => block.keysValues(from.x, context), { x }),
        )
      const shared = keysValues.get(block.source ?? place)
      const inputs = { x, ...perLayer(place), ...(shared && { keysValues: shared }) }
      const next = run(({ x: input, ...beside }) => block.forward(input, { ...context, ...beside }), inputs)
      // The tape keeps what it needs.
      x.dispose()
      x = next
      yield
    }
    return x
  }
}

/** The tokens of one sequence in a pass. */
export interface SequencePart {
  /** The tokens to read: the last tokens of the sequence after the pass. */
  readonly ids: ArrayLike<number>
  /** The sequence's number of tokens after the pass. */
  readonly known: number
  /** The memory's rows of its tokens, at least `known`; null, for all parts of a pass: rows 0, 1, … */
  readonly rows: ArrayLike<number> | null
  /** The slot of the sequence's states. */
  readonly slot: number
  /** The length of its row, which rotary angles may depend on. */
  readonly rowLength: number
  /** Factors of the sequence's adapters by name, if sequences have different ones; absent: the active adapters. */
  readonly factors?: ReadonlyMap<string, number>
}

/** The inputs of a pass over several sequences. */
interface PassInputs {
  readonly tokens: TokenInputs
  readonly rotary: ForwardContext['rotary']
  readonly rowAdapters: readonly RowAdapters[]
}

/** Returns the starts of consecutive ranges of these lengths, and the end of the last. */
function starts(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1)
  for (const [i, length] of lengths.entries()) offsets[i + 1] = offsets[i]! + length
  return offsets
}

/**
 * Returns the rows that have adapters of their own. Neighbours that have the same adapters are joined: their products are computed
 * together.
 */
function rowAdaptersOf(parts: readonly SequencePart[], { sequences }: Pick<TokenInputs, 'sequences'>): RowAdapters[] {
  const all: RowAdapters[] = []
  for (const [i, { from, to }] of sequences.entries()) {
    const { factors } = parts[i]!
    if (!factors || factors.size === 0) continue
    const last = all.at(-1)
    if (last?.to === from && last.factors === factors) all[all.length - 1] = { ...last, to }
    else all.push({ from, to, factors })
  }
  return all
}

/** Returns the rows of all tokens of all sequences. */
function rowsOf(parts: readonly SequencePart[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, { known }) => sum + known, 0))
  let at = 0
  for (const { rows, known } of parts) for (let token = 0; token < known; token++) all[at++] = rows![token]!
  return all
}

/** Returns the rows of a batch that have a target. */
export function rowsOfTargets({ targets }: Batch): Int32Array {
  return Int32Array.from(targets.keys()).filter((row) => targets[row]! >= 0)
}

/** The length of each token's document, [T]. */
function rowLengths({ positions, offsets }: Batch): Int32Array {
  const lengths = new Int32Array(positions.length)
  for (const [document, from] of offsets.entries()) {
    const to = offsets[document + 1] ?? from
    lengths.fill(to - from, from, to)
  }
  return lengths
}

/** Returns the table of the embeddings or the head, by its module's name in the checkpoint. */
function tableOf(name: string, weights: NetworkWeights, role: 'embeddings' | 'head'): Linear {
  return new Linear(name, weights.weight(`${name}.weight`), null, role)
}
