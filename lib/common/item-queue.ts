/** A queue from a producer to a reader that may be slower; it ends with a value or an error. */
export class ItemQueue<Item, End> {
  readonly #items: Item[] = []
  #end: { end: End } | { error: unknown } | null = null
  #wake: (() => void) | null = null

  /** Whether no more items come. */
  get ended(): boolean {
    return this.#end !== null
  }

  push(item: Item): void {
    this.#items.push(item)
    this.#wake?.()
  }

  finish(end: End): void {
    this.#end ??= { end }
    this.#wake?.()
  }

  fail(error: unknown): void {
    this.#end ??= { error }
    this.#wake?.()
  }

  /** Yields the items as they come, and returns the end. */
  async *read(): AsyncGenerator<Item, End> {
    for (;;) {
      const item = this.#items.shift()
      if (item !== undefined) yield item
      else if (!this.#end)
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      else if ('error' in this.#end) throw this.#end.error
      else return this.#end.end
    }
  }
}
