/** Writes many sequences at once: continuous batching (Orca, OSDI 2022) over keys and values in pages (arXiv 2309.06180). */
import { setMaxListeners } from 'node:events'
import { UsageError } from '../common/errors.js'
import type { AdapterChoice, Model, ModelView } from '../models/index.js'
import { freeMemory } from '../tensor/memory-budget.js'
import { gatherRows } from '../tensor/operations/indexing.js'
import { PAGE, PagePool } from './pages.js'
import type { EngineRequest } from './request.js'
import { type ChosenToken, chooseTokens } from './sampling/choose-tokens.js'
import { planStep } from './scheduler.js'
import { Sequence } from './sequence.js'
import type { FinishReason, NewToken } from './token-queue.js'

/** Tokens of prompts in a step: more would take longer, and new tokens of others wait for it. */
const PROMPT_TOKENS = 512
/** The most sequences of a pass whose numbers may not depend on their number. */
const EXACT_ROWS = 32

/** Options of `TextEngine`. */
export interface EngineOptions {
  /** The most sequences that are read beside each other; default 32. */
  sequences?: number
  /**
   * Tokens whose keys and values it has memory for; default: so many sequences of the model's length, in at most 1 GiB, or one
   * of them if that is more.
   */
  tokens?: number
}

/** How full an engine is. */
export interface EngineUsage {
  /** Sequences that are read. */
  readonly running: number
  /** Sequences that wait for memory. */
  readonly waiting: number
  /** Pages of 64 tokens that sequences use. */
  readonly pagesUsed: number
  /** Pages that can be taken, those of known beginnings that nobody uses included. */
  readonly pagesFree: number
}

/**
 * Many sequences of one model at once. Sequences join and leave between steps; a beginning that several have in common is read
 * and kept once; if the memory is full, the youngest waits. The same seed gives the same tokens, whatever else is written: bit
 * for bit in float32 on the CPU. Elsewhere products of several rows may sum in another order than those of one row.
 */
export class Engine implements AsyncDisposable {
  /** The most sequences that are read beside each other. */
  readonly sequences: number
  readonly #pool: PagePool
  readonly #memory: ReturnType<Model['createMemory']>
  readonly #isExact: boolean
  readonly #slots: number[]
  readonly #views = new Map<string, ModelView>()
  readonly #base: ModelView
  #waiting: Sequence[] = []
  #running: Sequence[] = []
  #work: Promise<void> = Promise.resolve()
  #isWorking = false
  #isClosed = false
  /** What wants the model for itself between two steps. */
  readonly #exclusive: (() => Promise<void>)[] = []

  constructor(
    readonly model: Model | ModelView,
    { sequences = 32, tokens = defaultTokens(model, sequences) }: EngineOptions = {},
  ) {
    const pages = Math.ceil(tokens / PAGE)
    this.#base = model.withAdapters([])
    this.sequences = sequences
    this.#pool = new PagePool(pages)
    this.#memory = model.createMemory({ capacity: pages * PAGE, slots: sequences })
    this.#slots = Array.from({ length: sequences }, (_, slot) => sequences - 1 - slot)
    this.#isExact = model.device.kind === 'cpu' && this.#memory.dtype === 'float32'
  }

  get usage(): EngineUsage {
    return {
      running: this.#running.length,
      waiting: this.#waiting.length,
      pagesUsed: this.#pool.used,
      pagesFree: this.#pool.available,
    }
  }

  /**
   * Writes a sequence: yields its new tokens, a stop token included, and returns why it ended. Leaving the loop frees it within
   * a step; with a constraint, the loop ends once nothing uses that any more.
   *
   * @throws UsageError `prompt-too-long`; RunError `non-finite`; the reason of an aborted signal
   */
  async *write(request: EngineRequest): AsyncGenerator<NewToken, FinishReason> {
    const { signal } = request
    signal?.throwIfAborted()
    const sequence = this.#begin(request)
    const abort = () => sequence.tokens.fail(signal!.reason)
    // Many sequences may have one signal.
    if (signal) setMaxListeners(0, signal)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      return yield* sequence.tokens.read()
    } finally {
      sequence.isLeft = true
      signal?.removeEventListener('abort', abort)
      this.#wake()
      // Whoever opened the constraint disposes it then.
      if (request.constraint) await sequence.dropped
    }
  }

  /**
   * Runs work that changes the model, such as a training step or loading an adapter, between two steps. What was read with other
   * weights is read again. Weights that change otherwise hold for the tokens that are read from then on: running sequences keep what they
   * have read, and new ones never begin with it.
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
    for (const { tokens } of [...this.#running, ...this.#waiting])
      tokens.fail(new UsageError('closed', 'The engine was closed before the sequence ended.'))
    await this.#work
    this.#memory.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #begin(request: EngineRequest): Sequence {
    if (this.#isClosed) throw new UsageError('closed', 'The engine is closed.')
    const { ids: prompt, maxNewTokens, adapters, name = 'The prompt' } = request
    const { maxPositions, vocabularySize } = this.model.config
    const most = Math.min(maxNewTokens, maxPositions - prompt.length)
    if (most < 1) throw tooLong(name, prompt.length, `the model's ${maxPositions} positions`)
    const capacity = this.#pool.count * PAGE
    if (prompt.length > capacity) throw tooLong(name, prompt.length, `the engine's ${capacity} tokens`)
    const sequence = new Sequence({
      request,
      view: this.#viewOf(adapters),
      // The last new token is not read.
      limit: Math.min(most, capacity - prompt.length + 1),
      vocabularySize,
      isExact: this.#isExact,
      hasStates: this.#memory.hasStates,
    })
    this.#waiting.push(sequence)
    this.#wake()
    return sequence
  }

  /** Returns the one view of the model with these adapters. */
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
        await this.#givePlace()
        this.#leave()
        const hasNone = this.#isClosed || this.#running.length + this.#waiting.length === 0
        // Work on the model may have asked for more of it.
        if (hasNone && this.#exclusive.length === 0) return
        if (!hasNone) await this.#step()
      }
    } catch (error) {
      for (const { tokens } of [...this.#running, ...this.#waiting]) tokens.fail(error)
      this.#leave()
    } finally {
      this.#isWorking = false
    }
  }

  async #givePlace(): Promise<void> {
    if (this.#exclusive.length === 0) return
    for (const work of this.#exclusive.splice(0)) await work()
    const versions = this.#versionsOf(this.#running)
    this.#pause(this.#running.filter((sequence) => !sequence.isOf(versions.get(sequence))))
  }

  /** Frees what sequences hold that ended or that nobody reads any more. */
  #leave(): void {
    for (const sequence of this.#running) if (sequence.isOver) this.#release(sequence)
    for (const sequence of [...this.#running, ...this.#waiting]) if (sequence.isOver) sequence.drop()
    this.#running = this.#running.filter(({ isOver }) => !isOver)
    this.#waiting = this.#waiting.filter(({ isOver }) => !isOver)
  }

  #release(sequence: Sequence): void {
    sequence.release(this.#pool)
    this.#slots.push(sequence.slot)
  }

  /** Makes sequences wait: they will be read again from their start. */
  #pause(sequences: readonly Sequence[]): void {
    for (const sequence of sequences) this.#release(sequence)
    this.#running = this.#running.filter((sequence) => !sequences.includes(sequence))
    this.#waiting.unshift(...sequences)
  }

  /**
   * Returns the version of the weights that each sequence is read with. Those whose adapter has left the model end with the error.
   */
  #versionsOf(sequences: readonly Sequence[]): Map<Sequence, number> {
    const known = new Map<ModelView, number>()
    const versions = new Map<Sequence, number>()
    for (const sequence of sequences) {
      const { view } = sequence.facts
      try {
        if (!known.has(view)) known.set(view, view.version)
        versions.set(sequence, known.get(view)!)
      } catch (error) {
        sequence.tokens.fail(error)
      }
    }
    return versions
  }

  async #step(): Promise<void> {
    const versions = this.#versionsOf(this.#waiting)
    this.#leave()
    for (const sequence of this.#waiting) sequence.begin(versions.get(sequence)!)
    for (const sequence of this.#running) if (sequence.turns) sequence.turn(this.#pool)
    const ready = this.#sharingWaiting()
    const { reading, admitted, paused } = planStep(this.#running, ready, {
      sequences: this.sequences,
      promptTokens: PROMPT_TOKENS,
      pages: this.#pool.available,
    })
    for (const sequence of ready) if (!admitted.includes(sequence)) sequence.release(this.#pool)
    this.#waiting = this.#waiting.filter((sequence) => !admitted.includes(sequence))
    this.#pause([...paused].reverse())
    for (const sequence of admitted) {
      sequence.slot = this.#slots.pop()!
      this.#memory.clearSlot(sequence.slot)
    }
    this.#running.push(...admitted)
    for (const sequence of reading) sequence.takePages(this.#pool)
    for (const pass of this.#passes(reading)) await this.#read(pass)
  }

  /**
   * Returns the waiting sequences that may begin, with the pages of their known beginnings; the others begin with what a running
   * sequence is just reading.
   */
  #sharingWaiting(): Sequence[] {
    const beingRead = new Set(this.#running.flatMap((sequence) => sequence.unread))
    const ready: Sequence[] = []
    for (const sequence of this.#waiting) {
      if (this.#running.length + ready.length === this.sequences) break
      if (!sequence.share(this.#pool, (key) => beingRead.has(key))) continue
      for (const key of sequence.unread) beingRead.add(key)
      ready.push(sequence)
    }
    return ready
  }

  /**
   * Divides a step into passes: sequences with adapters that only add to results are read together, those with the same ones as
   * neighbours.
   */
  #passes(reading: readonly Sequence[]): Sequence[][] {
    const views = [...new Set(reading.map(({ facts }) => facts.view))]
    const ofRows = new Set(views.filter(({ rowFactors }) => rowFactors !== null))
    const passes: Sequence[][] = []
    for (const sequence of reading) {
      const { view } = sequence.facts
      const fits = (pass: readonly Sequence[]) => {
        const [first] = pass as [Sequence]
        const together = first.facts.view === view || (ofRows.has(first.facts.view) && ofRows.has(view))
        return together && (!this.#isExact || (sequence.next === 1 && first.next === 1 && pass.length < EXACT_ROWS))
      }
      const pass = passes.find(fits)
      if (pass) pass.push(sequence)
      else passes.push([sequence])
    }
    for (const pass of passes) pass.sort((a, b) => views.indexOf(a.facts.view) - views.indexOf(b.facts.view))
    return passes
  }

  /** Runs a pass. If it fails, its sequences end with the error. */
  async #read(sequences: readonly Sequence[]): Promise<void> {
    // An adapter may have left the model since the step began.
    const pass = [...this.#versionsOf(sequences).keys()]
    if (pass.length === 0) return
    try {
      const tokens = await this.#nextTokens(pass)
      for (const [i, sequence] of pass.entries()) sequence.accept(tokens[i]!, this.#pool)
    } catch (error) {
      for (const { tokens } of pass) tokens.fail(error)
    }
  }

  /** Reads the next tokens of sequences, and chooses a new one for each that has no others left; null for the rest. */
  async #nextTokens(pass: readonly Sequence[]): Promise<(ChosenToken | null)[]> {
    const { view } = pass[0]!.facts
    const isMixed = pass.some(({ facts }) => facts.view !== view)
    const parts = pass.map(({ ids, read, next, rows, slot, facts }) => {
      const known = read + next
      const part = {
        ids: ids.slice(read, known),
        known,
        rows,
        slot,
        rowLength: Math.max(known, facts.request.ids.length),
      }
      return isMixed ? { ...part, factors: facts.view.rowFactors! } : part
    })
    using logits = (isMixed ? this.#base : view).nextLogitsOf(parts, this.#memory)
    // The device computes meanwhile.
    const choices = await Promise.all(pass.map((sequence) => (sequence.isWriting ? sequence.choice() : null)))
    const chosen: (ChosenToken | null)[] = pass.map(() => null)
    const writing = choices.flatMap((choice, row) => (choice ? [{ choice, row }] : []))
    if (writing.length === 0) {
      await this.model.device.synchronize()
      return chosen
    }
    const rows = writing.map(({ row }) => row)
    using own = rows.length === pass.length ? null : gatherRows(logits, rows)
    const tokens = await chooseTokens(
      own ?? logits,
      writing.map(({ choice }) => choice),
    )
    for (const [i, token] of tokens.entries()) chosen[rows[i]!] = token
    return chosen
  }
}

/** Makes the error for a prompt that is too long to be continued. */
export const tooLong = (name: string, tokens: number, room: string): UsageError =>
  new UsageError(
    'prompt-too-long',
    `${name} has ${tokens} tokens, which leaves no room for an answer within ${room}; shorten it.`,
  )

/** So many sequences of the model's length, in at most 1 GiB; but one of them in up to half of the free memory. */
function defaultTokens(model: Model | ModelView, sequences: number): number {
  const { maxPositions } = model.config
  using one = model.createMemory({ capacity: 1, slots: 1 })
  const inBytes = (bytes: number) => Math.floor(bytes / Math.max(1, one.bytesOfToken))
  const ofOne = Math.min(maxPositions, inBytes(freeMemory(model.device) / 2))
  return Math.max(PAGE, ofOne, Math.min(sequences * maxPositions, inBytes(2 ** 30)))
}
