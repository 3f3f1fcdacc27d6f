import type { RandomStream } from '../../common/random.js'

export const DEFAULT_SHUFFLE_BUFFER = 10_000

/** Steps with whose rows a buffer begins. */
export const FIRST_STEPS = 4

/**
 * Yields items in random order, each drawn from a buffer of at most `size`. The buffer begins with `first` items and grows by one
 * with each that is drawn, so that the first one is not waited for long. The order depends on the items and `random` alone.
 */
export async function* shuffled<Item>(
  items: AsyncIterable<Item>,
  { size, first, random }: { size: number; first: number; random: RandomStream },
): AsyncGenerator<Item> {
  const buffer: Item[] = []
  let drawn = 0
  const draw = (): Item => {
    const at = random.integer(buffer.length)
    const last = buffer.pop()!
    if (at === buffer.length) return last
    const item = buffer[at]!
    buffer[at] = last
    return item
  }
  for await (const item of items) {
    buffer.push(item)
    if (buffer.length < Math.min(size, first + drawn)) continue
    yield draw()
    drawn++
  }
  while (buffer.length > 0) yield draw()
}
