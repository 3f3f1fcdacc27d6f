/** Pages of keys and values: their reference counts, and the prefix cache, whose pages later sequences reuse. */
import { createHash } from 'node:crypto'

/** Tokens of a page. */
export const PAGE = 64

/**
 * Allocates pages and counts the sequences that use each. A cached page stays in the prefix cache after its last use, until its memory
 * is needed; the least recently used page is evicted first.
 */
export class PagePool {
  readonly #free: number[]
  readonly #references: Int32Array
  readonly #byKey = new Map<string, number>()
  readonly #keys: (string | undefined)[]
  /** Cached pages without references, least recently used first. */
  readonly #evictable = new Set<number>()

  /** @param count number of pages */
  constructor(readonly count: number) {
    this.#free = Array.from({ length: count }, (_, page) => count - 1 - page)
    this.#references = new Int32Array(count)
    this.#keys = new Array<string | undefined>(count)
  }

  /** Number of pages that sequences use. */
  get used(): number {
    return this.count - this.available
  }

  /** Number of pages that can be allocated, evictable ones included. */
  get available(): number {
    return this.#free.length + this.#evictable.size
  }

  /** Allocates a page; one must be available. */
  allocate(): number {
    const page = this.#free.pop() ?? this.#evictOldest()
    this.#references[page] = 1
    return page
  }

  /** Registers a page in the prefix cache under its key; the first registration wins. */
  register(page: number, key: string): void {
    if (this.#keys[page] !== undefined || this.#byKey.has(key)) return
    this.#keys[page] = key
    this.#byKey.set(key, page)
  }

  /** Whether the prefix cache has this key. */
  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  /** Adds a reference to the cached page of a key; returns undefined if the cache does not have it. */
  acquire(key: string): number | undefined {
    const page = this.#byKey.get(key)
    if (page === undefined) return undefined
    this.#evictable.delete(page)
    this.#references[page]!++
    return page
  }

  /** Removes a reference to a page. */
  release(page: number): void {
    if (--this.#references[page]! > 0) return
    if (this.#keys[page] === undefined) this.#free.push(page)
    else this.#evictable.add(page)
  }

  #evictOldest(): number {
    const [page] = this.#evictable
    if (page === undefined) throw new Error('no page is available')
    this.#evictable.delete(page)
    this.#byKey.delete(this.#keys[page]!)
    this.#keys[page] = undefined
    return page
  }
}

/**
 * Returns the key of a page with these tokens. `before` is the previous page's key, so that the key covers the whole prefix; for the
 * first page it names everything else that keys and values depend on.
 */
export function pageKey(before: string, tokens: readonly number[]): string {
  return createHash('sha256').update(before).update(Int32Array.from(tokens)).digest('base64')
}
