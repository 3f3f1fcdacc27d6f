import { z } from 'zod'
import { aBatch, type Batch, targetWeights, weightOfTargets } from '../../batches/batch.js'
import {
  aFlag,
  aNumber,
  atLeast,
  check,
  expecting,
  having,
  optionsSchema,
  wholeFrom,
  wholes,
} from '../../common/arguments.js'
import { RunError } from '../../common/errors.js'
import { streamKey } from '../../common/random.js'
import { limitTensorMemory } from '../../tensor/memory-budget.js'
import { chooseTokens } from '../../tensor/operations/choose-tokens.js'
import { targetLogProbs, weightCrossEntropy, weightedCrossEntropy } from '../../tensor/operations/loss.js'
import { damagedModel, type TokenChoice } from '../../tensor/operations/sampling.js'
import { scope, scopeOverSteps } from '../../tensor/scope.js'
import { runSteps, runStepsInTurns, type Steps } from '../../tensor/steps.js'
import { isRecording, noGrad, withRecording } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'
import { oneOfEachKind } from './block-kinds.js'
import { type Decoder, type ForwardOptions, rowsOfTargets, type SequencePart } from './decoder.js'
import { type ForwardCall, ModelOutput, type SummedLoss } from './model-output.js'
import { type ModelShards, modelShards, requireWhole } from './model-shards.js'
import { SequenceCache } from './sequence-cache.js'
import { TokenMemory } from './token-memory.js'
import { isSameState } from './token-step.js'

interface DropoutKey {
  readonly seed: number
  /** The optimizer's step. */
  readonly step: number
  readonly neftuneAlpha?: number
}

const someRows = z.union([z.enum(['all', 'targets']), wholes])
const aDropoutKey = having('seed and step of the dropout', 'seed', 'step')

const setDropoutArguments = { key: aDropoutKey.nullable() }

const forwardArguments = {
  batch: aBatch,
  options: optionsSchema('the options of forward', { rows: someRows.optional() }),
}

const forwardAsyncArguments = {
  batch: aBatch,
  options: optionsSchema('the options of forwardAsync', { rows: someRows.optional(), gradients: aFlag.optional() }),
}

const lossAsyncArguments = {
  batch: aBatch,
  options: optionsSchema('the options of lossAsync', { gradients: aFlag.optional() }),
}

const createCacheArguments = { capacity: wholeFrom(1) }

const createMemoryArguments = {
  room: optionsSchema('the room of a memory', { capacity: wholeFrom(1), slots: wholeFrom(1) }),
}

const readPartsArguments = {
  parts: expecting('a list of parts', z.array(having('a part', 'ids', 'known')).min(1)),
  memory: expecting('a memory (createMemory makes one)', z.instanceof(TokenMemory)),
}

const scorePartsArguments = { ...readPartsArguments, targets: having('targets', 'rows', 'ids') }

const nextTokenArguments = {
  choice: optionsSchema('choice', {
    temperature: atLeast(0),
    topK: wholeFrom(0),
    topP: aNumber,
    uniform: atLeast(0),
  }),
}

const readArguments = {
  ids: wholes,
  cache: expecting('a cache (createCache makes one)', z.instanceof(SequenceCache)),
}

const WRITING = 'Writing texts takes all weights for every token'

/** The settings of passes that are not of the whole network with its active adapters. */
interface PassSettings {
  /** Indices of the blocks that passes with batches go through: all by default. */
  readonly blocks?: readonly number[] | undefined
  /** Runs a part of a pass, which does not wait, with the adapters of these passes. */
  readonly within?: Within | undefined
}

type Within = <Result>(part: () => Result) => Result

/** The forward passes of a network: the loss of rows, log-probabilities of their targets, and the next token. */
export class ForwardPasses {
  /** Recompute each block's activations in the backward pass: slower, less memory. */
  gradientCheckpointing = false
  /**
   * `int8`: passes that record gradients compute the products with frozen weights of the blocks in 8 bits, forward and
   * backward. Needs a device with `int8Products`. Evaluation and generation stay as they are.
   */
  compute: 'auto' | 'int8' = 'auto'
  /** The shards of the model's matrices; null if ranks do not shard it. */
  readonly shards: ModelShards | null
  readonly #decoder: Decoder
  readonly #blocks: readonly number[] | undefined
  readonly #within: Within
  #dropout: DropoutKey | null = null
  #version = 0
  /** `Decoder.state` at the current version. */
  #state: readonly unknown[] = []

  constructor(decoder: Decoder, { blocks, within = (part) => part() }: PassSettings = {}) {
    this.#decoder = decoder
    this.#blocks = blocks
    this.#within = within
    this.shards = modelShards(decoder)
  }

  /**
   * The version of the weights and adapters: a number that rises when their values, or the active adapters, have changed since it was
   * last read. Keys and values of another version are stale.
   */
  get version(): number {
    const state = this.#within(() => this.#decoder.state())
    if (!isSameState(state, this.#state)) this.#version++
    this.#state = state
    return this.#version
  }

  /**
   * Rows that are shorter than this have the same rotary angles.
   *
   * @internal
   */
  get alikeBelow(): number {
    return this.#decoder.alikeBelow
  }

  /**
   * Turns adapter dropout on, keyed by seed and optimizer step, and with a `neftuneAlpha` above 0 noise on the embeddings; null turns
   * both off.
   */
  setDropout(key: { seed: number; step: number; neftuneAlpha?: number } | null): void {
    check({ key }, setDropoutArguments)
    this.#dropout = key
  }

  /**
   * Returns the sum of cross-entropies over the batch's targets, each times the weight of its row, [1] float32, and the sum of these
   * weights, which is the divisor of the mean. Tokens without a target never reach the head.
   */
  loss(batch: Batch): SummedLoss {
    check({ batch }, { batch: aBatch })
    return { loss: this.#within(() => runSteps(this.#loss(batch))), targetTokens: weightOfTargets(batch) }
  }

  /** `loss`, enqueued in turns of the event loop. Nothing may change the model until the promise is settled. */
  async lossAsync(batch: Batch, options: { gradients?: boolean } = {}): Promise<SummedLoss> {
    check({ batch, options }, lossAsyncArguments)
    const { gradients = true } = options
    const loss = await this.#inTurns(this.#loss(batch), gradients)
    return { loss, targetTokens: weightOfTargets(batch) }
  }

  /** Returns hidden states after the final norm and their logits, for custom objectives; computed as in `loss`. */
  forward(batch: Batch, options: ForwardCall = {}): ModelOutput {
    check({ batch, options }, forwardArguments)
    return this.#within(() => runSteps(this.#output(batch, options)))
  }

  /** `forward`, enqueued in turns of the event loop. Nothing may change the model until the promise is settled. */
  async forwardAsync(batch: Batch, options: ForwardCall & { gradients?: boolean } = {}): Promise<ModelOutput> {
    check({ batch, options }, forwardAsyncArguments)
    const { gradients = true } = options
    return this.#inTurns(this.#output(batch, options), gradients)
  }

  /**
   * Returns passes through only one block of each kind: a device that supports them supports passes of the whole network.
   *
   * @internal
   * @param times how often they go through these blocks, one after the other
   */
  trial(times = 1): Pick<ForwardPasses, 'lossAsync' | 'forwardAsync'> {
    const kinds = this.#within(() => oneOfEachKind(this.#decoder))
    const blocks = Array.from({ length: times }, () => kinds).flat()
    const passes = new ForwardPasses(this.#decoder, { blocks, within: this.#within })
    passes.gradientCheckpointing = this.gradientCheckpointing
    passes.compute = this.compute
    return passes
  }

  /**
   * Returns the natural log-probability of every target of the batch, in order, from float32 logits.
   * @throws RunError `non-finite`
   */
  async tokenLogProbs(batch: Batch): Promise<Float32Array> {
    check({ batch }, { batch: aBatch })
    if (batch.targetTokens === 0) return new Float32Array(0)
    const values = await this.#inTurns(scopeOverSteps(this.#ofTargets(batch, targetLogProbs)), false)
    const result = (await values.data()) as Float32Array
    values.dispose()
    return finite(result)
  }

  /**
   * Allocates a cache for the keys and values, or states, of `capacity` tokens, for `nextLogits`. Once weights or adapters have changed,
   * what it has is stale, and `rewind` drops all of it.
   */
  createCache(capacity: number): SequenceCache {
    check({ capacity }, createCacheArguments)
    return new SequenceCache(this.createMemory({ capacity, slots: 1 }))
  }

  /**
   * Allocates memory of the tokens of several sequences, for `nextLogitsOf`.
   *
   * @internal
   */
  createMemory(room: { capacity: number; slots: number }): TokenMemory {
    check({ room }, createMemoryArguments)
    const { blocks, dtype, device } = this.#decoder
    return new TokenMemory(
      blocks.map(({ mixer }) => mixer),
      { ...room, dtype, device },
    )
  }

  /**
   * Prefills or decodes: reads the next tokens of several sequences, after the tokens in the memory, and returns the logits
   * [sequences, V] of each sequence's next token, which the caller frees.
   *
   * @internal
   */
  nextLogitsOf(parts: readonly SequencePart[], memory: TokenMemory): Tensor {
    check({ parts, memory }, readPartsArguments)
    requireWhole(this.#decoder, WRITING)
    const { device, dtype } = this.#decoder
    // Elsewhere products of more rows are faster by another order of summation.
    device.setRowsAlone(dtype === 'float32')
    try {
      return this.#within(() => noGrad(() => scope(() => this.#decoder.nextLogitsOf(parts, memory))))
    } finally {
      device.setRowsAlone(false)
    }
  }

  /**
   * Reads the next tokens of several sequences, as `nextLogitsOf` does, and returns the natural log-probabilities of targets, each after
   * the token in a row of the pass.
   *
   * @internal
   * @throws RunError `non-finite`
   */
  async logProbsOf(
    parts: readonly SequencePart[],
    targets: Parameters<Decoder['logProbsOf']>[1],
    memory: TokenMemory,
  ): Promise<Float32Array> {
    check({ parts, targets, memory }, scorePartsArguments)
    requireWhole(this.#decoder, WRITING)
    using values = this.#within(() =>
      noGrad(() => scope(() => runSteps(this.#decoder.logProbsOf(parts, targets, memory)))),
    )
    return finite((await values.data()) as Float32Array)
  }

  /** Reads `ids` after the tokens in the cache, and returns the logits [V] of the next token. */
  async nextLogits(ids: ArrayLike<number>, cache: SequenceCache): Promise<Float32Array> {
    using logits = this.#read(ids, cache)
    return (await logits.data()) as Float32Array
  }

  /** Like `nextLogits`, and chooses a token by its logits: only the chosen id leaves the device. @throws RunError `non-finite` */
  async nextToken(ids: ArrayLike<number>, cache: SequenceCache, choice: TokenChoice): Promise<number> {
    check({ choice }, nextTokenArguments)
    using logits = this.#read(ids, cache)
    const [token] = await chooseTokens(logits, [choice])
    if (token instanceof RunError) throw token
    return token!.id
  }

  /** Runs one step in each turn of the event loop, each with the adapters of these passes. */
  #inTurns<Result>(steps: Steps<Result>, gradients: boolean): Promise<Result> {
    return runStepsInTurns(steps, { around: (part) => withRecording(gradients, () => this.#within(part)) })
  }

  #loss(batch: Batch): Steps<Tensor> {
    const weights = targetWeights(batch)
    return scopeOverSteps(this.#ofTargets(batch, weights ? weightedCrossEntropy(weights) : weightCrossEntropy))
  }

  #output(batch: Batch, { rows = 'all' }: ForwardCall): Steps<ModelOutput> {
    const picked = rows === 'targets' ? rowsOfTargets(batch) : rows === 'all' ? null : rows
    return scopeOverSteps(this.#ofRows(batch, picked))
  }

  *#ofRows(batch: Batch, rows: ArrayLike<number> | null): Steps<ModelOutput> {
    const decoder = this.#decoder
    limitTensorMemory(decoder.device)
    decoder.beginPass(isRecording(), this.#blocks)
    return new ModelOutput(yield* decoder.normedStates(batch, rows, this.#options()), decoder)
  }

  /** Evaluates a function of the head on the tokens that have a target; yields after each block and with the function. */
  *#ofTargets(batch: Batch, evaluate: typeof weightCrossEntropy): Steps<Tensor> {
    const decoder = this.#decoder
    limitTensorMemory(decoder.device)
    decoder.beginPass(isRecording(), this.#blocks)
    const { hidden, targets } = yield* decoder.targetStates(batch, this.#options())
    return yield* evaluate(hidden, decoder.adaptedHead(), targets, decoder.network.logits)
  }

  /** Returns the logits [1, V] of the next token. */
  #read(ids: ArrayLike<number>, cache: SequenceCache): Tensor {
    check({ ids, cache }, readArguments)
    requireWhole(this.#decoder, WRITING)
    if (cache.length === 0) cache.begin(this)
    const decoder = this.#decoder
    const part = cache.partOf(ids, decoder)
    const pass = () => cache.reading(ids.length, () => decoder.nextLogitsOf([part], cache.memory))
    return this.#within(() => noGrad(() => scope(pass)))
  }

  #options(): ForwardOptions {
    const options: ForwardOptions = {
      recompute: this.gradientCheckpointing,
      int8: this.compute === 'int8',
      blocks: this.#blocks,
      within: this.#within,
    }
    const on = this.#dropout
    if (!on) return options
    const dropout = (keys: BigInt64Array) => ({
      rowKeys: Tensor.from(keys, [keys.length], { device: this.#decoder.device, dtype: 'int64' }),
      key: (layer: string, adapter: string) => streamKey(on.seed, 'dropout', on.step, layer, adapter),
    })
    if (!on.neftuneAlpha) return { ...options, dropout }
    const key = (bit: number) => streamKey(on.seed, 'neftune', on.step, bit)
    return { ...options, dropout, noise: { alpha: on.neftuneAlpha, key } }
  }
}

/** @throws RunError `non-finite` */
function finite(logProbs: Float32Array): Float32Array {
  const odd = logProbs.findIndex((value) => !Number.isFinite(value))
  if (odd < 0) return logProbs
  throw damagedModel(`log-probability of target ${odd + 1} of ${logProbs.length}`, logProbs[odd]!)
}

/** The passes of a run, with the active adapters. */
export class RunPasses extends ForwardPasses {
  /** @param withAdapters returns passes with other adapters, which a run compares with its own */
  constructor(
    decoder: Decoder,
    readonly withAdapters: (adapters?: readonly string[]) => ForwardPasses,
  ) {
    super(decoder)
  }

  override trial(times = 1) {
    const trial = super.trial(times)
    return {
      lossAsync: trial.lossAsync.bind(trial),
      forwardAsync: trial.forwardAsync.bind(trial),
      withAdapters: (adapters?: readonly string[]) => this.withAdapters(adapters).trial(times),
    }
  }
}
