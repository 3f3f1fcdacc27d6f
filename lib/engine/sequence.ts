import type { RandomStream } from '../common/random.js'
import type { ModelView } from '../models/index.js'
import type { Sampling } from '../tensor/operations/sampling.js'
import { PAGE, type PagePool, pageKeys } from './pages.js'
import type { Schedulable } from './scheduler.js'
import { TokenQueue } from './token-queue.js'

/** Tokens of a prompt that are read at once. */
const PIECE = 512

export interface SequenceFacts {
  readonly view: ModelView
  /** The prompt: at least one token. */
  readonly prompt: readonly number[]
  /** The most new tokens. */
  readonly limit: number
  readonly sampling: Sampling
  readonly random: RandomStream
  readonly stopIds: ReadonlySet<number>
  /** Whether a row's numbers may not depend on what is read beside it. */
  readonly isExact: boolean
  /** Whether the model has states, so that it cannot begin with pages of another sequence. */
  readonly hasStates: boolean
}

/** One sequence of the engine: its tokens, and the pages of those that were read. */
export class Sequence implements Schedulable {
  readonly ids: number[]
  readonly tokens = new TokenQueue()
  /** Pages of its tokens, in order. */
  readonly pages: number[] = []
  /** Whether nobody waits for its tokens any more. */
  isLeft = false
  /** The place of its states. */
  slot = 0
  read = 0
  /** Keys of the prompt's pages that can be shared. */
  #keys: readonly string[] | null = null
  /** The memory's rows of its tokens. */
  #rows = new Int32Array(0)
  #isLong = false

  constructor(readonly facts: SequenceFacts) {
    this.ids = [...facts.prompt]
    this.#isLong = this.#isNowLong
  }

  get length(): number {
    return this.ids.length
  }

  get held(): number {
    return this.pages.length
  }

  /** Whether the next pass gives the logits of a new token. */
  get isWriting(): boolean {
    return this.read + this.next === this.length
  }

  get next(): number {
    const { prompt, isExact } = this.facts
    // Where numbers may not depend on how tokens were read, new ones are read again one by one, as at first.
    const end = isExact && this.read < prompt.length ? prompt.length : this.length
    if (isExact && this.read >= prompt.length) return 1
    const piece = isExact ? PAGE : PIECE
    return Math.min(end - this.read, piece - (this.read % piece))
  }

  /** The memory's rows of its tokens, up to the end of its pages. */
  get rows(): Int32Array {
    return this.#rows
  }

  /** Uses the pages of a beginning that is known, or returns false if another sequence is just reading it. */
  share(pool: PagePool, isBeingRead: (key: string) => boolean): boolean {
    const keys = this.keys
    let known = 0
    while (known < keys.length && pool.knows(keys[known]!)) known++
    if (known < keys.length && isBeingRead(keys[known]!)) return false
    for (const key of keys.slice(0, known)) this.#add(pool.share(key)!)
    this.read = known * PAGE
    return true
  }

  /** Keys of the pages that it fills and others may use; the last token is always read, since its pass yields the next one. */
  get keys(): readonly string[] {
    const { prompt, view, hasStates } = this.facts
    this.#keys ??= hasStates ? [] : pageKeys(this.ids, prompt.length - 1, `${view.choice} ${this.#isLong}`)
    return this.#keys
  }

  /** Keys of the pages that it is going to fill. */
  get unread(): readonly string[] {
    return this.keys.slice(Math.floor(this.read / PAGE))
  }

  /** Takes the pages for its next tokens. */
  takePages(pool: PagePool): void {
    while (this.held * PAGE < this.read + this.next) this.#add(pool.take())
  }

  /** Counts the next tokens as read, makes pages known that are full now, and adds the new token that they gave, if any. */
  accept(id: number | null, pool: PagePool): void {
    const before = Math.floor(this.read / PAGE)
    this.read += this.next
    for (let page = before; page < Math.floor(this.read / PAGE) && page < this.keys.length; page++)
      pool.know(this.pages[page]!, this.keys[page]!)
    if (id === null) return
    this.ids.push(id)
    this.tokens.push({ id })
    const { stopIds, prompt, limit } = this.facts
    if (stopIds.has(id)) this.tokens.finish('stop')
    else if (this.length - prompt.length === limit) this.tokens.finish('length')
  }

  /** Gives back all pages: what was read has to be read again. */
  release(pool: PagePool): void {
    for (const page of this.pages) pool.release(page)
    this.pages.length = 0
    this.#rows = new Int32Array(0)
    this.read = 0
  }

  /** Whether its next token makes it a long row, all of whose tokens are read otherwise (LongRoPE). */
  get turns(): boolean {
    return this.#isNowLong !== this.#isLong
  }

  /** Begins anew as the row that it is now. */
  turn(pool: PagePool): void {
    this.release(pool)
    this.#isLong = this.#isNowLong
    this.#keys = null
  }

  get #isNowLong(): boolean {
    return this.length >= this.facts.view.longRowsFrom
  }

  #add(page: number): void {
    const rows = new Int32Array(this.#rows.length + PAGE)
    rows.set(this.#rows)
    for (let token = 0; token < PAGE; token++) rows[this.#rows.length + token] = page * PAGE + token
    this.pages.push(page)
    this.#rows = rows
  }
}
