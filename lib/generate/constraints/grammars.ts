/**
 * Where grammars are compiled and kept. A constraint is written as a grammar first, which finds most errors at once; grammars that seem
 * to be small do not wait for large ones, and one that takes longer than it seemed counts as large. Each is first compiled in a thread
 * that may be ended, so that none that takes too much harms others. What compiles fast is then compiled again in one thread for all;
 * anything else keeps its thread, since the texts of others would wait for a second compilation.
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

/** Most grammars that are kept for one vocabulary. */
const MOST_GRAMMARS = 64
/** Grammars that have a thread of their own. */
const MOST_OWN = 4
/** A grammar that compiles within this time is compiled in the thread for all [ms]. */
const SHORT_MILLISECONDS = 200

/** Time after which what seemed to be little work is not [s]. */
const SMALL_SECONDS = 4

/** Places for work of one kind, and its threads that wait for more. */
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

/** Constraints are written here, and grammars compiled: the small ones and the others. */
const lanes = { writing: new Lane(1), small: new Lane(2), large: new Lane(1) }
let own: Grammar[] = []
let common: ConstraintThread | undefined

/** The grammar of a constraint that is being compiled, or was. */
interface Kept {
  readonly grammar: Promise<Grammar>
  readonly compiled: () => Grammar | undefined
  /** Number of callers that wait for it. */
  wanted: number
  readonly left: AbortController
}

/** The grammars that were compiled for a vocabulary. */
export class Grammars {
  /** The one that was used last is the last. */
  readonly #kept = new Map<string, Kept>()

  constructor(readonly vocabulary: Vocabulary) {}

  /**
   * Returns a compiled grammar. If all that wait for one have left, its compilation ends.
   * @throws UsageError `unsupported-constraint`, `malformed-grammar`
   */
  async compiled(source: ConstraintSource, signal: AbortSignal | undefined): Promise<Grammar> {
    const key = JSON.stringify(source)
    const known = this.#kept.get(key)
    const isLost = known?.left.signal.aborted || known?.compiled()?.thread.isEnded
    const kept = known && !isLost ? known : this.#compile(source, key)
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    this.#evict()
    kept.wanted++
    try {
      return await unlessAborted(kept.grammar, signal)
    } finally {
      kept.wanted--
      if (kept.wanted === 0 && !kept.compiled()) kept.left.abort()
    }
  }

  #compile(source: ConstraintSource, key: string): Kept {
    const left = new AbortController()
    let compiled: Grammar | undefined
    const grammar = grammarFor(this.vocabulary, source, key.length, left.signal)
    const kept = { grammar, compiled: () => compiled, wanted: 0, left }
    grammar.then(
      (done) => {
        compiled = done
      },
      () => {
        if (this.#kept.get(key) === kept) this.#kept.delete(key)
      },
    )
    return kept
  }

  #evict(): void {
    const [oldest] = this.#kept
    if (!oldest || this.#kept.size <= MOST_GRAMMARS) return
    this.#kept.delete(oldest[0])
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
  left: AbortSignal,
): Promise<Grammar> {
  const written = await inLane(lanes.writing, { size: length, seconds: SMALL_SECONDS, left }, (thread) =>
    thread.write(source, SMALL_SECONDS),
  )
  const size = written?.size ?? Number.POSITIVE_INFINITY
  const compile = (lane: Lane, seconds: number) =>
    inLane(lane, { size, seconds, left }, (thread) =>
      compileGrammar(thread, vocabulary, { source, written: written?.grammar }, seconds),
    )
  const small = size <= MOST_OF_SMALL ? await compile(lanes.small, SMALL_SECONDS) : undefined
  return small ?? (await compile(lanes.large, limits.seconds))!
}

/** Work of a lane. */
interface LaneWork {
  readonly size: number
  /** Limit of its time [s]. */
  readonly seconds: number
  /** Aborted when nobody waits for it. */
  readonly left: AbortSignal
}

/** Works in a thread of a lane; returns undefined if that takes too long there, and may take longer elsewhere. */
function inLane<Result>(
  lane: Lane,
  { size, seconds, left }: LaneWork,
  work: (thread: ConstraintThread) => Promise<Result>,
): Promise<Result | undefined> {
  return lane.run(size, async () => {
    left.throwIfAborted()
    const thread = lane.take()
    const onLeft = () => thread.end('nobody waits for it')
    left.addEventListener('abort', onLeft)
    try {
      return await work(thread)
    } catch (error) {
      if (!thread.isLate || seconds >= limits.seconds) throw error
      return undefined
    } finally {
      left.removeEventListener('abort', onLeft)
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

/** Makes room for a grammar with a thread of its own: one that no text uses leaves. */
function hasRoom(): boolean {
  own = own.filter(({ thread }) => !thread.isSpent)
  const unused = own.length < MOST_OWN ? undefined : own.find(({ thread }) => thread.isIdle)
  unused?.thread.end('another grammar took its place')
  own = own.filter((one) => one !== unused)
  return own.length < MOST_OWN
}
