/** Lets callers take turns. */

interface Turn<Item> {
  readonly item: Item
  /** Virtual finish time: the amount of work that the caller will have received after this item. */
  readonly end: number
}

/**
 * A fair queue: the next item is the one that would finish first if all callers were served at once. A small item passes large
 * items of other callers, and no item waits forever.
 */
export class Turns<Item> {
  readonly #callers = new Map<unknown, Turn<Item>[]>()
  #time = 0

  get isEmpty(): boolean {
    return this.#callers.size === 0
  }

  /** @param size work of the item */
  add(caller: unknown, size: number, item: Item): void {
    const turns = this.#callers.get(caller) ?? []
    this.#callers.set(caller, turns)
    turns.push({ item, end: (turns.at(-1)?.end ?? this.#time) + size })
  }

  /** Removes the next item and returns it. */
  next(): Item {
    let first: readonly [unknown, Turn<Item>[]] | undefined
    for (const one of this.#callers) if (!first || one[1][0]!.end < first[1][0]!.end) first = one
    const [caller, turns] = first!
    const { item, end } = turns.shift()!
    this.#time = end
    if (turns.length === 0) this.#callers.delete(caller)
    return item
  }

  /** Removes all items of a caller and returns them. */
  leave(caller: unknown): Item[] {
    const turns = this.#callers.get(caller) ?? []
    this.#callers.delete(caller)
    return turns.map(({ item }) => item)
  }
}
