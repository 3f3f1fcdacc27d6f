/** Recent items of responses, to which later requests of the same client may refer. */

/** Maximum number of items, and length of their JSON. */
const [ITEMS, CHARACTERS] = [4096, 2 ** 24]

export class StoredItems {
  /** JSON of items, the one used last at the end. */
  readonly #items = new Map<string, string>()
  #characters = 0

  /** Stores items of a client; null: of all clients whose keys have no names. The oldest ones make room. */
  add(client: string | null, items: readonly { readonly id: string }[]): void {
    for (const item of items) this.#put(keyOf(client, item.id), JSON.stringify(item))
    for (const [key, json] of this.#items) {
      if (this.#items.size <= ITEMS && this.#characters <= CHARACTERS) return
      this.#items.delete(key)
      this.#characters -= json.length
    }
  }

  /** Returns the JSON of an item of a client; undefined if it is not stored. */
  find(client: string | null, id: string): string | undefined {
    const key = keyOf(client, id)
    const json = this.#items.get(key)
    if (json === undefined) return undefined
    this.#items.delete(key)
    this.#items.set(key, json)
    return json
  }

  #put(key: string, json: string): void {
    this.#items.set(key, json)
    this.#characters += json.length
  }
}

const keyOf = (client: string | null, id: string): string => JSON.stringify([client, id])
