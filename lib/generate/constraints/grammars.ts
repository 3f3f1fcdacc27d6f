/**
 * Where grammars are compiled and kept. Each is first compiled in a thread that may be ended, so that none that takes too much harms
 * others. What compiles fast is then compiled again in one thread for all; anything else keeps its thread, since the texts of others
 * would wait for a second compilation.
 */
import { taskLimit } from '../../common/task-limit.js'
import { unlessAborted } from '../../common/unless-aborted.js'
import type { ConstraintSource } from './source.js'
import { ConstraintThread, newNumber, type Vocabulary } from './thread-client.js'

/** A compiled grammar. */
export interface Grammar {
  readonly thread: ConstraintThread
  readonly number: number
}

/** Most grammars that are kept for one vocabulary. */
const MOST_GRAMMARS = 64
/** Grammars that are compiled at once. */
const MOST_COMPILED = 2
/** Grammars that have a thread of their own. */
const MOST_OWN = 6
/** A grammar that compiles within this time is compiled in the thread for all [ms]. */
const SHORT_MILLISECONDS = 200

const inTurn = taskLimit(MOST_COMPILED)
const spares: ConstraintThread[] = []
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
    const grammar = inTurn(() => compileGrammar(this.vocabulary, source, left.signal))
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

async function compileGrammar(vocabulary: Vocabulary, source: ConstraintSource, left: AbortSignal): Promise<Grammar> {
  left.throwIfAborted()
  const thread = spareThread()
  const onLeft = () => thread.end('nobody waits for it')
  left.addEventListener('abort', onLeft)
  const number = newNumber()
  try {
    const { grammar, milliseconds } = await thread.compile(vocabulary, number, source)
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
    await shared.thread.compile(vocabulary, number, { grammar })
    return shared
  } finally {
    left.removeEventListener('abort', onLeft)
    if (thread.isSpent) thread.end('it failed')
    else if (own.every((one) => one.thread !== thread)) spares.push(thread)
  }
}

function spareThread(): ConstraintThread {
  const spare = spares.pop() ?? new ConstraintThread()
  return spare.isEnded ? spareThread() : spare
}

/** Makes room for a grammar with a thread of its own: one that no text uses leaves. */
function hasRoom(): boolean {
  own = own.filter(({ thread }) => !thread.isSpent)
  const unused = own.length < MOST_OWN ? undefined : own.find(({ thread }) => thread.isIdle)
  unused?.thread.end('another grammar took its place')
  own = own.filter((one) => one !== unused)
  return own.length < MOST_OWN
}
