/** The pages of a memory of tokens: who uses them, and which hold tokens that a later sequence may begin with. */
import { createHash } from 'node:crypto'

/** Tokens of a page. */
export const PAGE = 64

/**
 * Pages with the number of sequences that use each. A page of known tokens stays known when nobody uses it any more, until its
 * memory is needed: the one unused for longest goes first.
 */
export class PagePool {
  readonly #free: number[]
  readonly #users: Int32Array
  readonly #byKey = new Map<string, number>()
  readonly #keys: (string | undefined)[]
  /** Known pages that nobody uses, oldest first. */
  readonly #idle = new Set<number>()

  /** @param count number of pages */
  constructor(readonly count: number) {
    this.#free = Array.from({ length: count }, (_, page) => count - 1 - page)
    this.#users = new Int32Array(count)
    this.#keys = new Array<string | undefined>(count)
  }

  /** Number of pages that sequences use. */
  get used(): number {
    return this.count - this.available
  }

  /** Number of pages that can be taken. */
  get available(): number {
    return this.#free.length + this.#idle.size
  }

  /** Takes a page; there must be one available. */
  take(): number {
    const page = this.#free.pop() ?? this.#oldestIdle()
    this.#users[page] = 1
    return page
  }

  /** Makes the tokens of a page known. The first page of a key stays the one that is found. */
  know(page: number, key: string): void {
    if (this.#keys[page] !== undefined || this.#byKey.has(key)) return
    this.#keys[page] = key
    this.#byKey.set(key, page)
  }

  /** Whether the tokens of this key are known. */
  knows(key: string): boolean {
    return this.#byKey.has(key)
  }

  /** Uses the page of known tokens; undefined if they are not. */
  share(key: string): number | undefined {
    const page = this.#byKey.get(key)
    if (page === undefined) return undefined
    this.#idle.delete(page)
    this.#users[page]!++
    return page
  }

  /** Ends one use of a page. */
  release(page: number): void {
    if (--this.#users[page]! > 0) return
    if (this.#keys[page] === undefined) this.#free.push(page)
    else this.#idle.add(page)
  }

  #oldestIdle(): number {
    const [page] = this.#idle
    if (page === undefined) throw new Error('no page is available')
    this.#idle.delete(page)
    this.#byKey.delete(this.#keys[page]!)
    this.#keys[page] = undefined
    return page
  }
}

/**
 * Returns the key of a page that holds these tokens: of them and all before them, and of whatever else their keys and values
 * depend on, which is `before` for the first page.
 */
export function pageKey(before: string, tokens: readonly number[]): string {
  return createHash('sha256').update(before).update(Int32Array.from(tokens)).digest('base64')
}
