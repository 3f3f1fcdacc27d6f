/** Generates many sequences at once: continuous batching (Orca, OSDI 2022) over paged keys and values (arXiv 2309.06180). */
import { setMaxListeners } from 'node:events'
import { type RunError, UsageError } from '../common/errors.js'
import type { AdapterChoice, Model, ModelView, TokenMemory } from '../models/index.js'
import { freeMemory } from '../tensor/memory-budget.js'
import { chooseTokens } from '../tensor/operations/choose-tokens.js'
import { gatherRows } from '../tensor/operations/indexing.js'
import type { NewToken } from '../tensor/operations/sampling.js'
import { PAGE, PagePool } from './pages.js'
import type { EngineRequest, FinishReason, ScoredPrompt } from './request.js'
import { isLong, planStep, shortPrecede } from './scheduler.js'
import { groupPrompts, longestOf, ScoredSequence } from './scored-sequence.js'
import type { Sequence } from './sequence.js'
import { TextSequence } from './text-sequence.js'

/** Maximum number of prefill tokens in a step, for which sequences in decode wait. */
const PREFILL_TOKENS = 512
/** Maximum number of sequences of a forward pass with exact results. */
const EXACT_ROWS = 32

/** Options of `TextEngine`. */
export interface EngineOptions {
  /** Maximum number of concurrent sequences; default 32. */
  sequences?: number
  /** Maximum number of concurrent sequences of more than 512 tokens, so that shorter ones find room; default: all. */
  longSequences?: number
  /**
   * Number of tokens whose keys and values fit in the memory; default: `sequences` sequences of the model's length, in at most 1 GiB,
   * or one such sequence if that is more.
   */
  tokens?: number
}

/** Load of an engine. */
export interface EngineUsage {
  /** Number of sequences that have memory. */
  readonly running: number
  /** Number of sequences that wait for memory. */
  readonly waiting: number
  /** Number of pages of 64 tokens that sequences use. */
  readonly pagesUsed: number
  /** Number of pages that can be allocated, evictable pages of the prefix cache included. */
  readonly pagesFree: number
}

/**
 * Generates many sequences of one model at once. Sequences join and leave between steps; a common prefix is computed and stored once; if
 * the memory is full, the youngest sequence is preempted. The same seed gives the same tokens, whatever other sequences run: bit for bit
 * in float32 on the CPU. Elsewhere products of several rows may sum in another order than products of one row.
 */
export class Engine implements AsyncDisposable {
  /** Maximum number of concurrent sequences. */
  readonly sequences: number
  readonly #longSequences: number
  readonly #pool: PagePool
  readonly #memory: TokenMemory
  readonly #slots: number[]
  readonly #views = new Map<string, ModelView>()
  #shortFirst = true
  readonly #base: ModelView
  #waiting: Sequence[] = []
  #running: Sequence[] = []
  #work: Promise<void> = Promise.resolve()
  #isWorking = false
  #isClosed = false
  /** Work that needs the model for itself between two steps. */
  readonly #exclusive: (() => Promise<void>)[] = []

  constructor(
    /** The model that generates. */
    readonly model: Model | ModelView,
    { sequences = 32, longSequences = sequences, tokens = defaultTokens(model, sequences) }: EngineOptions = {},
  ) {
    const pages = Math.ceil(tokens / PAGE)
    this.#base = model.withAdapters([])
    this.sequences = sequences
    this.#longSequences = longSequences
    this.#pool = new PagePool(pages)
    this.#memory = model.createMemory({ capacity: pages * PAGE, slots: sequences })
    this.#slots = Array.from({ length: sequences }, (_, slot) => sequences - 1 - slot)
  }

  /** Load of the engine. */
  get usage(): EngineUsage {
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      pagesUsed: this.#pool.used,
      pagesFree: this.#pool.available,
    }
  }

  /**
   * Generates a sequence: yields its new tokens, a stop token included, and returns the finish reason. Leaving the loop cancels it
   * within a step; with a constraint, the loop ends once the engine has released the constraint.
   *
   * @throws UsageError `prompt-too-long`; RunError `non-finite`; the reason of an aborted signal
   */
  async *write(request: EngineRequest): AsyncGenerator<NewToken, FinishReason> {
    const { signal } = request
    signal?.throwIfAborted()
    const sequence = this.#textSequence(request)
    const cancel = this.#enqueue(sequence, signal)
    try {
      return yield* sequence.results.read()
    } finally {
      cancel()
      // The caller disposes of the constraint then.
      if (request.constraint) await sequence.removed
    }
  }

  /**
   * Returns for each prompt the natural log-probability of each of its continuations, summed in float64. What neighbours have in common,
   * and a prompt with several continuations, is computed once, unless their lengths change rotary angles, or tokens change states.
   *
   * @throws (each promise) UsageError `prompt-too-long`; RunError `non-finite`; the reason of an aborted signal
   */
  score(
    prompts: readonly ScoredPrompt[],
    options: Pick<EngineRequest, 'adapters' | 'signal'> = {},
  ): Promise<number[]>[] {
    return groupPrompts(prompts).flatMap(({ prompts: group, common }) => {
      const sums = this.#scoreTogether(group, common, options)
      return group.map(async (_, i) => (await sums)[i]!)
    })
  }

  /** Scores prompts whose first `common` tokens are the same. */
  async #scoreTogether(
    prompts: readonly ScoredPrompt[],
    common: number,
    options: Pick<EngineRequest, 'adapters' | 'signal'>,
  ): Promise<number[][]> {
    const { adapters, signal } = options
    signal?.throwIfAborted()
    const view = this.#viewOf(adapters)
    const memory = this.#memory
    const lengths = prompts.map((prompt) => longestOf(prompt))
    const fits = lengths.every((length) => length <= Math.min(this.model.config.maxPositions, this.#capacity))
    if (fits && !memory.hasStates && lengths.every((length) => length < this.model.alikeBelow)) {
      const sequence = ScoredSequence.ofPrompts(view, memory, prompts, common)
      if (sequence.length <= this.#capacity) {
        const sums = await this.#sumsOf(sequence, signal)
        return prompts.map(({ continuations }) => sums.splice(0, continuations.length))
      }
    }
    if (prompts.length > 1) {
      const each = prompts.map((prompt) => this.#scoreTogether([prompt], prompt.ids.length, options))
      return (await Promise.all(each)).flat()
    }
    const [{ ids, name, continuations }] = prompts as [ScoredPrompt]
    this.#requireRoom({ ids, name }, lengths[0]!, lengths[0]!)
    const sums = continuations.map((one) => this.#sumsOf(ScoredSequence.ofOne(view, memory, ids, one), signal))
    return [(await Promise.all(sums)).flat()]
  }

  /**
   * Runs work that changes the model, such as a training step or loading an adapter, between two steps. Sequences whose weights it
   * changes are computed again from their first token. If weights change in another way, running sequences keep their keys and values
   * and use the new weights from the next token on; the prefix cache never serves pages of other weights.
   */
  async exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = new Promise<Result>((resolve, reject) => {
      this.#exclusive.push(async () => {
        try {
          resolve(await work())
        } catch (error) {
          reject(error)
        }
      })
    })
    this.#wake()
    return result
  }

  /** Ends all sequences and frees the memory. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const { results } of [...this.#running, ...this.#waiting])
      results.fail(new UsageError('closed', 'The engine was closed before the sequence ended.'))
    await this.#work
    this.#memory.dispose()
  }

  /** The same as `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Adds a sequence to the waiting ones; returns a function that cancels it. */
  #enqueue(sequence: Sequence, signal: AbortSignal | undefined): () => void {
    const abort = () => sequence.results.fail(signal!.reason)
    // Many sequences may have one signal.
    if (signal) setMaxListeners(0, signal)
    signal?.addEventListener('abort', abort, { once: true })
    this.#waiting.push(sequence)
    this.#wake()
    return () => {
      sequence.isCancelled = true
      signal?.removeEventListener('abort', abort)
      this.#wake()
    }
  }

  #textSequence(request: EngineRequest): TextSequence {
    const { ids, maxNewTokens, adapters } = request
    const most = Math.min(maxNewTokens, this.model.config.maxPositions - ids.length)
    this.#requireRoom(request, ids.length, ids.length + 1)
    // The last new token is not computed.
    const limit = Math.min(most, this.#capacity - ids.length + 1)
    return new TextSequence(this.#viewOf(adapters), this.#memory, request, limit)
  }

  /** Runs a scored sequence, and returns its sums. */
  async #sumsOf(sequence: ScoredSequence, signal: AbortSignal | undefined): Promise<number[]> {
    if (this.#isClosed) throw closed()
    const cancel = this.#enqueue(sequence, signal)
    try {
      const { value } = await sequence.results.read().next()
      return value
    } finally {
      cancel()
    }
  }

  /** @throws UsageError `closed`, `prompt-too-long` */
  #requireRoom(
    { name = 'The prompt', ids }: Pick<EngineRequest, 'ids' | 'name'>,
    computed: number,
    positions: number,
  ): void {
    if (this.#isClosed) throw closed()
    const { maxPositions } = this.model.config
    if (positions > maxPositions) throw tooLong(name, ids.length, `the model's ${maxPositions} positions`)
    if (computed > this.#capacity) throw tooLong(name, ids.length, `the engine's ${this.#capacity} tokens`)
  }

  /** Maximum number of tokens of all sequences. */
  get #capacity(): number {
    return this.#pool.count * PAGE
  }

  /** Returns the view of the model with these adapters, the same for equal choices. */
  #viewOf(adapters: AdapterChoice | undefined): ModelView {
    const view = this.model.withAdapters(adapters)
    const known = this.#views.get(view.choice)
    if (!known) this.#views.set(view.choice, view)
    return known ?? view
  }

  #wake(): void {
    if (this.#isWorking) return
    this.#isWorking = true
    this.#work = this.#steps()
  }

  async #steps(): Promise<void> {
    try {
      for (;;) {
        await this.#runExclusive()
        this.#removeFinished()
        const isIdle = this.#isClosed || this.#running.length + this.#waiting.length === 0
        // Exclusive work may request more.
        if (isIdle && this.#exclusive.length === 0) return
        if (!isIdle) await this.#step()
      }
    } catch (error) {
      for (const { results } of [...this.#running, ...this.#waiting]) results.fail(error)
      this.#removeFinished()
    } finally {
      this.#isWorking = false
    }
  }

  async #runExclusive(): Promise<void> {
    if (this.#exclusive.length === 0) return
    for (const work of this.#exclusive.splice(0)) await work()
    const versions = this.#versionsOf(this.#running)
    this.#preempt(this.#running.filter((sequence) => !sequence.usesWeights(versions.get(sequence))))
  }

  /** Frees the memory of finished sequences. */
  #removeFinished(): void {
    for (const sequence of this.#running) if (sequence.isFinished) this.#release(sequence)
    for (const sequence of [...this.#running, ...this.#waiting]) if (sequence.isFinished) sequence.remove()
    this.#running = this.#running.filter(({ isFinished }) => !isFinished)
    this.#waiting = this.#waiting.filter(({ isFinished }) => !isFinished)
  }

  #release(sequence: Sequence): void {
    sequence.release(this.#pool)
    this.#slots.push(sequence.slot)
  }

  /** Makes running sequences wait; they are computed again from their first token. */
  #preempt(sequences: readonly Sequence[]): void {
    for (const sequence of sequences) this.#release(sequence)
    this.#running = this.#running.filter((sequence) => !sequences.includes(sequence))
    this.#waiting.unshift(...sequences)
  }

  /**
   * Returns the version of the weights that each sequence is computed with. Sequences whose adapter was removed end with the error.
   */
  #versionsOf(sequences: readonly Sequence[]): Map<Sequence, number> {
    const known = new Map<ModelView, number>()
    const versions = new Map<Sequence, number>()
    for (const sequence of sequences) {
      const { view } = sequence
      try {
        if (!known.has(view)) known.set(view, view.version)
        versions.set(sequence, known.get(view)!)
      } catch (error) {
        sequence.results.fail(error)
      }
    }
    return versions
  }

  async #step(): Promise<void> {
    const versions = this.#versionsOf(this.#waiting)
    this.#removeFinished()
    for (const sequence of this.#waiting) sequence.setWeights(versions.get(sequence)!)
    for (const sequence of this.#running) if (sequence.crossesLongRope) sequence.restart(this.#pool)
    const ready = this.#withCachedPrefixes()
    const limits = {
      sequences: this.sequences,
      longSequences: this.#longSequences,
      prefillTokens: PREFILL_TOKENS,
      pages: this.#pool.available,
      shortFirst: this.#shortFirst,
    }
    const { scheduled, admitted, preempted } = planStep(this.#running, ready, limits)
    this.#shortFirst = shortPrecede([...this.#running, ...ready], scheduled, limits)
    for (const sequence of ready) if (!admitted.includes(sequence)) sequence.release(this.#pool)
    this.#waiting = this.#waiting.filter((sequence) => !admitted.includes(sequence))
    this.#preempt([...preempted].reverse())
    for (const sequence of admitted) {
      sequence.slot = this.#slots.pop()!
      this.#memory.clearSlot(sequence.slot)
    }
    this.#running.push(...admitted)
    for (const sequence of scheduled) sequence.allocate(this.#pool)
    for (const pass of this.#passes(scheduled)) await this.#compute(pass)
  }

  /**
   * Returns the waiting sequences that can be admitted, with their cached prefixes. A sequence whose prefix a running one is computing
   * waits for it.
   */
  #withCachedPrefixes(): Sequence[] {
    const pending = new Set(this.#running.flatMap((sequence) => sequence.pendingKeys))
    const ready: Sequence[] = []
    const order = (sequence: Sequence) => Number(isLong(sequence, PREFILL_TOKENS))
    const waiting = this.#shortFirst ? this.#waiting.toSorted((a, b) => order(a) - order(b)) : this.#waiting
    for (const sequence of waiting) {
      if (this.#running.length + ready.length === this.sequences) break
      if (!sequence.reusePrefix(this.#pool, (key) => pending.has(key))) continue
      for (const key of sequence.pendingKeys) pending.add(key)
      ready.push(sequence)
    }
    return ready
  }

  /**
   * Divides a step into forward passes. Sequences with different adapters share a pass if the adapters only add to results; sequences
   * with the same adapters are neighbours in it.
   */
  #passes(scheduled: readonly Sequence[]): Sequence[][] {
    const views = [...new Set(scheduled.map(({ view }) => view))]
    const additive = new Set(views.filter(({ rowFactors }) => rowFactors !== null))
    const passes: Sequence[][] = []
    for (const sequence of scheduled) {
      const { view } = sequence
      const fits = (pass: readonly Sequence[]) => {
        const [first] = pass as [Sequence]
        if (isScored(first) || isScored(sequence))
          return isScored(first) && isScored(sequence) && first.view === view && !first.isExact
        const together = first.view === view || (additive.has(first.view) && additive.has(view))
        return together && (!first.isExact || (sequence.chunk === 1 && first.chunk === 1 && pass.length < EXACT_ROWS))
      }
      const pass = passes.find(fits)
      if (pass) pass.push(sequence)
      else passes.push([sequence])
    }
    for (const pass of passes) pass.sort((a, b) => views.indexOf(a.view) - views.indexOf(b.view))
    return passes
  }

  /** Computes a forward pass and samples. If it fails, its sequences end with the error. */
  async #compute(sequences: readonly Sequence[]): Promise<void> {
    // An adapter may have been removed since the step began.
    const pass = [...this.#versionsOf(sequences).keys()]
    if (pass.length === 0) return
    try {
      // A pass has sequences of one kind.
      if (pass.every(isScored)) return await this.#score(pass)
      const texts = pass.filter((sequence) => sequence instanceof TextSequence)
      const tokens = await this.#nextTokens(texts)
      for (const [i, sequence] of texts.entries()) sequence.accept(tokens[i]!, this.#pool)
    } catch (error) {
      for (const { results } of pass) results.fail(error)
    }
  }

  /** Computes the chunks of scored sequences, with the log-probabilities of their targets. */
  async #score(pass: readonly ScoredSequence[]): Promise<void> {
    const { view } = pass[0]!
    const parts = pass.flatMap((sequence) => sequence.parts)
    const ids: number[] = []
    const rows: number[] = []
    let from = 0
    const targets = pass.map((sequence) => sequence.targets)
    for (const [i, { chunk }] of pass.entries()) {
      ids.push(...targets[i]!.ids)
      for (const row of targets[i]!.rows) rows.push(from + row)
      from += chunk
    }
    let logProbs: Float32Array = new Float32Array(0)
    if (ids.length > 0) logProbs = await view.logProbsOf(parts, { ids, rows }, this.#memory)
    else {
      view.nextLogitsOf(parts, this.#memory).dispose()
      await this.model.device.synchronize()
    }
    let known = 0
    for (const [i, sequence] of pass.entries()) {
      const count = targets[i]!.ids.length
      sequence.accept(logProbs.subarray(known, known + count), this.#pool)
      known += count
    }
  }

  /** Computes the chunks of sequences, and samples a token for each whose chunk is its last; null for the others. */
  async #nextTokens(pass: readonly TextSequence[]): Promise<(NewToken | RunError | null)[]> {
    const { view } = pass[0]!
    const isMixed = pass.some((sequence) => sequence.view !== view)
    const parts = pass.flatMap(({ parts, view }) =>
      isMixed ? parts.map((part) => ({ ...part, factors: view.rowFactors! })) : parts,
    )
    using logits = (isMixed ? this.#base : view).nextLogitsOf(parts, this.#memory)
    // The device computes meanwhile.
    const choices = await Promise.all(pass.map((sequence) => (sequence.isSampling ? sequence.choice() : null)))
    const chosen: (NewToken | RunError | null)[] = pass.map(() => null)
    const sampling = choices.flatMap((choice, row) => (choice ? [{ choice, row }] : []))
    if (sampling.length === 0) {
      await this.model.device.synchronize()
      return chosen
    }
    const rows = sampling.map(({ row }) => row)
    using own = rows.length === pass.length ? null : gatherRows(logits, rows)
    const tokens = await chooseTokens(
      own ?? logits,
      sampling.map(({ choice }) => choice),
    )
    for (const [i, token] of tokens.entries()) chosen[rows[i]!] = token
    return chosen
  }
}

const closed = () => new UsageError('closed', 'The engine is closed.')

const isScored = (sequence: Sequence): sequence is ScoredSequence => sequence instanceof ScoredSequence

/** Returns the error for a prompt that leaves no room for a completion. */
const tooLong = (name: string, tokens: number, room: string): UsageError =>
  new UsageError(
    'prompt-too-long',
    `${name} has ${tokens} tokens, which leaves no room for an answer within ${room}; shorten it.`,
  )

/** Returns the default of `tokens`: `sequences` of the model's length in at most 1 GiB, but one of them in up to half of the free memory. */
function defaultTokens(model: Model | ModelView, sequences: number): number {
  const { maxPositions } = model.config
  using one = model.createMemory({ capacity: 1, slots: 1 })
  const inBytes = (bytes: number) => Math.floor(bytes / Math.max(1, one.bytesOfToken))
  const ofOne = Math.min(maxPositions, inBytes(freeMemory(model.device) / 2))
  return Math.max(PAGE, ofOne, Math.min(sequences * maxPositions, inBytes(2 ** 30)))
}
