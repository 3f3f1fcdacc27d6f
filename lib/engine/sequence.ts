import type { ModelView } from '../models/index.js'
import { PAGE, type PagePool, pageKey } from './pages.js'
import type { EngineRequest } from './request.js'
import type { ChoiceOfRow, ChosenToken } from './sampling/choose-tokens.js'
import { LogitsEdits } from './sampling/logits-edits.js'
import type { Schedulable } from './scheduler.js'
import { TokenQueue } from './token-queue.js'

/** Tokens of a prompt that are read at once. */
const PIECE = 512

export interface SequenceFacts {
  readonly request: EngineRequest
  readonly view: ModelView
  /** The most new tokens. */
  readonly limit: number
  readonly vocabularySize: number
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
  /** Keys of its first pages, as far as they were needed. */
  #keys: string[] = []
  /** The version of the weights that its first tokens are read with: nobody begins with its pages once there is a later one. */
  #weights = 0
  /** The memory's rows of its tokens. */
  #rows = new Int32Array(0)
  #isLong = false
  readonly #edits: LogitsEdits | null
  /** Says that nothing of it is used any more. */
  drop = (): void => {}
  /** Resolves then. */
  readonly dropped = new Promise<void>((resolve) => {
    this.drop = resolve
  })

  constructor(readonly facts: SequenceFacts) {
    const { ids, edits, stopIds } = facts.request
    this.ids = [...ids]
    this.#edits = edits ? new LogitsEdits(edits, ids, { stopIds, vocabularySize: facts.vocabularySize }) : null
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
    const { isExact, request } = this.facts
    const prompt = request.ids
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

  /** Whether its first tokens were read with weights of this version. */
  isOf(weights: number | undefined): boolean {
    return this.#weights === weights
  }

  /** Begins with weights of this version. */
  begin(weights: number): void {
    if (this.isOf(weights)) return
    this.#weights = weights
    this.#keys = []
  }

  /**
   * Uses the pages of a beginning that is known, or returns false if another sequence is just reading it. The last token is always
   * read, since its pass yields the next one.
   */
  share(pool: PagePool, isBeingRead: (key: string) => boolean): boolean {
    const keys = this.#keysOf(Math.min(this.length - 1, this.#shareable))
    const unknown = keys.findIndex((key) => !pool.knows(key))
    if (unknown >= 0 && isBeingRead(keys[unknown]!)) return false
    for (const key of unknown < 0 ? keys : keys.slice(0, unknown)) this.#addPage(pool.share(key)!)
    this.read = this.held * PAGE
    return true
  }

  /** Keys of the pages that it is going to fill, as far as their tokens are known. */
  get unread(): readonly string[] {
    return this.#keysOf(this.#shareable).slice(Math.floor(this.read / PAGE))
  }

  /** Takes the pages for its next tokens. */
  takePages(pool: PagePool): void {
    while (this.held * PAGE < this.read + this.next) this.#addPage(pool.take())
  }

  /** Returns how its next token is chosen; null if it has ended, or ends since that fails. */
  async choice(): Promise<ChoiceOfRow | null> {
    if (this.isOver) return null
    const { sampling, random, constraint, topLogprobs } = this.facts.request
    const uniform = sampling.temperature === 0 ? 0 : random.uniform()
    try {
      const mask = await constraint?.mask()
      return { choice: { ...sampling, uniform }, changes: this.#edits?.changes, mask, topLogprobs }
    } catch (error) {
      this.tokens.fail(error)
      return null
    }
  }

  /** Counts the next tokens as read, makes pages known that are full now, and adds the new token that they gave, if any. */
  accept(token: ChosenToken | null, pool: PagePool): void {
    const before = Math.floor(this.read / PAGE)
    this.read += this.next
    const keys = this.#keysOf(Math.min(this.read, this.#shareable))
    for (let page = before; page < keys.length; page++) pool.know(this.pages[page]!, keys[page]!)
    if (!token || this.isOver) return
    try {
      if (token.error) throw token.error
      this.#add(token)
    } catch (error) {
      this.tokens.fail(error)
    }
  }

  #add({ id, ranked }: ChosenToken): void {
    const { ids: prompt, stopIds, constraint } = this.facts.request
    this.ids.push(id)
    this.#edits?.push(id)
    this.tokens.push({ id, ...ranked })
    if (stopIds.has(id)) {
      this.tokens.finish('stop')
      return
    }
    constraint?.accept(id)
    if (this.length - prompt.length === this.facts.limit) this.tokens.finish('length')
  }

  /** Whether nothing more is written: it has ended, or nobody waits for its tokens any more. */
  get isOver(): boolean {
    return this.isLeft || this.tokens.ended
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
    this.#keys = []
  }

  /** Tokens whose pages others may use: where numbers may not depend on how tokens were read, those of the prompt. */
  get #shareable(): number {
    return this.facts.isExact ? this.facts.request.ids.length : this.length
  }

  /** Keys of the whole pages among the first tokens. */
  #keysOf(tokens: number): readonly string[] {
    const { view, hasStates } = this.facts
    if (hasStates) return []
    const count = Math.floor(tokens / PAGE)
    while (this.#keys.length < count) {
      const from = this.#keys.length * PAGE
      const before = this.#keys.at(-1) ?? `${view.choice} ${this.#weights} ${this.#isLong}`
      this.#keys.push(pageKey(before, this.ids.slice(from, from + PAGE)))
    }
    return this.#keys.slice(0, count)
  }

  get #isNowLong(): boolean {
    return this.length >= this.facts.view.longRowsFrom
  }

  #addPage(page: number): void {
    const rows = new Int32Array(this.#rows.length + PAGE)
    rows.set(this.#rows)
    for (let token = 0; token < PAGE; token++) rows[this.#rows.length + token] = page * PAGE + token
    this.pages.push(page)
    this.#rows = rows
  }
}
