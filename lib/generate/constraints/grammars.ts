/**
 * Compiles grammars and caches them. A constraint is first translated into a grammar, which finds most errors at once. Grammars of a small
 * estimated size do not wait for large ones; one that takes longer than estimated counts as large. Each is first compiled in a thread that
 * may be ended, so that a grammar that takes too much time or memory harms no other. A grammar that compiles fast is then compiled again
 * in one thread for all; any other keeps its thread, since a second compilation would make the texts of others wait.
 */

import { unlessAborted } from '../../common/cancellation.js'
import { SmallestFirst } from '../../common/task-limit.js'
import { MOST_OF_SMALL } from './grammar-size.js'
import { limits } from './limits.js'
import type { ConstraintSource } from './source.js'
import type { Vocabulary } from './thread.js'
import { ConstraintThread, newNumber } from './thread-client.js'

/** A compiled grammar. */
export interface Grammar {
  readonly thread: ConstraintThread
  readonly number: number
}

/** Maximum number of cached grammars of one vocabulary. */
const MOST_GRAMMARS = 64
/** Maximum number of grammars with a thread of their own. */
const MOST_OWN = 4
/** A grammar that compiles within this time is compiled in the thread for all [ms]. */
const SHORT_MILLISECONDS = 200

/** Time limit of grammars of a small estimated size [s]. */
const SMALL_SECONDS = 4

/** A queue for work of one kind, with its idle threads. */
class Lane extends SmallestFirst {
  readonly #spares: ConstraintThread[] = []

  take(): ConstraintThread {
    const spare = this.#spares.pop() ?? new ConstraintThread()
    return spare.isEnded ? this.take() : spare
  }

  giveBack(thread: ConstraintThread): void {
    this.#spares.push(thread)
  }
}

/** Queues of translations, and of compilations by estimated size. */
const lanes = { writing: new Lane(1), small: new Lane(2), large: new Lane(1) }
let own: Grammar[] = []
let common: ConstraintThread | undefined

/** A cached grammar, compiled or in compilation. */
interface CachedGrammar {
  readonly grammar: Promise<Grammar>
  readonly compiled: () => Grammar | undefined
  /** Number of callers that wait for it. */
  waiting: number
  readonly cancel: AbortController
}

/** The cached grammars of a vocabulary. */
export class Grammars {
  /** The least recently used first. */
  readonly #cached = new Map<string, CachedGrammar>()

  constructor(readonly vocabulary: Vocabulary) {}

  /**
   * Returns a compiled grammar. A compilation ends once all its callers have aborted.
   * @throws UsageError `unsupported-constraint`, `malformed-grammar`
   */
  async compiled(source: ConstraintSource, signal: AbortSignal | undefined): Promise<Grammar> {
    const key = JSON.stringify(source)
    const known = this.#cached.get(key)
    const isLost = known?.cancel.signal.aborted || known?.compiled()?.thread.isEnded
    const cached = known && !isLost ? known : this.#compile(source, key)
    this.#cached.delete(key)
    this.#cached.set(key, cached)
    this.#evict()
    cached.waiting++
    try {
      return await unlessAborted(cached.grammar, signal)
    } finally {
      cached.waiting--
      if (cached.waiting === 0 && !cached.compiled()) cached.cancel.abort()
    }
  }

  #compile(source: ConstraintSource, key: string): CachedGrammar {
    const cancel = new AbortController()
    let compiled: Grammar | undefined
    const grammar = grammarFor(this.vocabulary, source, key.length, cancel.signal)
    const cached = { grammar, compiled: () => compiled, waiting: 0, cancel }
    grammar.then(
      (done) => {
        compiled = done
      },
      () => {
        if (this.#cached.get(key) === cached) this.#cached.delete(key)
      },
    )
    return cached
  }

  #evict(): void {
    const [oldest] = this.#cached
    if (!oldest || this.#cached.size <= MOST_GRAMMARS) return
    this.#cached.delete(oldest[0])
    oldest[1].grammar.then(
      ({ thread, number }) => thread.forget(number),
      () => {},
    )
  }
}

async function grammarFor(
  vocabulary: Vocabulary,
  source: ConstraintSource,
  length: number,
  signal: AbortSignal,
): Promise<Grammar> {
  const written = await inLane(lanes.writing, { size: length, seconds: SMALL_SECONDS, signal }, (thread) =>
    thread.write(source, SMALL_SECONDS),
  )
  const size = written?.size ?? Number.POSITIVE_INFINITY
  const compile = (lane: Lane, seconds: number) =>
    inLane(lane, { size, seconds, signal }, (thread) =>
      compileGrammar(thread, vocabulary, { source, written: written?.grammar }, seconds),
    )
  const small = size <= MOST_OF_SMALL ? await compile(lanes.small, SMALL_SECONDS) : undefined
  return small ?? (await compile(lanes.large, limits.seconds))!
}

/** Work in a lane. */
interface LaneWork {
  readonly size: number
  /** Limit of its time [s]. */
  readonly seconds: number
  /** Aborted when its callers have. */
  readonly signal: AbortSignal
}

/** Runs work in a thread of a lane; returns undefined if it takes longer than the lane allows, but not than the largest limit. */
function inLane<Result>(
  lane: Lane,
  { size, seconds, signal }: LaneWork,
  work: (thread: ConstraintThread) => Promise<Result>,
): Promise<Result | undefined> {
  return lane.run(size, async () => {
    signal.throwIfAborted()
    const thread = lane.take()
    const onAbort = () => thread.end('nobody waits for it')
    signal.addEventListener('abort', onAbort)
    try {
      return await work(thread)
    } catch (error) {
      if (!thread.isLate || seconds >= limits.seconds) throw error
      return undefined
    } finally {
      signal.removeEventListener('abort', onAbort)
      if (thread.isSpent) thread.end('it failed')
      else if (own.every((one) => one.thread !== thread)) lane.giveBack(thread)
    }
  })
}

async function compileGrammar(
  thread: ConstraintThread,
  vocabulary: Vocabulary,
  what: { source: ConstraintSource; written: string | undefined },
  seconds: number,
): Promise<Grammar> {
  const number = newNumber()
  const milliseconds = await thread.compile(vocabulary, number, what, seconds)
  const isLong = milliseconds > SHORT_MILLISECONDS
  if (isLong && hasRoom()) {
    const one = { thread, number }
    own.push(one)
    return one
  }
  thread.forget(number)
  // The memory of the library never shrinks.
  thread.isSpent ||= isLong
  if (common === undefined || common.isSpent) common = new ConstraintThread({ isCommon: true })
  const shared = { thread: common, number }
  await shared.thread.compile(vocabulary, number, what)
  return shared
}

/** Whether a grammar may have a thread of its own; ends one that no text uses if needed. */
function hasRoom(): boolean {
  own = own.filter(({ thread }) => !thread.isSpent)
  const unused = own.length < MOST_OWN ? undefined : own.find(({ thread }) => thread.isIdle)
  unused?.thread.end('another grammar took its place')
  own = own.filter((one) => one !== unused)
  return own.length < MOST_OWN
}
