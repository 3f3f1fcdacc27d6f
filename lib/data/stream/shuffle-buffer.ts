import type { RandomStream } from '../../common/random.js'

export const DEFAULT_SHUFFLE_BUFFER = 10_000

/** Characters of the records in a buffer, but for the last. */
export const MOST_BUFFERED = 2 ** 27

/** Steps with whose rows a buffer begins. */
export const FIRST_STEPS = 4

/**
 * Yields items in random order, each drawn from a buffer of at most `size`, whose sizes add up to less than `most`, but for the last. The buffer begins with `first` items and grows by one
 * with each that is drawn, so that the first one is not waited for long. The order depends on the items and `random` alone.
 */
export async function* shuffled<Item>(
  items: AsyncIterable<Item>,
  {
    size,
    first,
    random,
    most = Number.POSITIVE_INFINITY,
    sizeOf = () => 0,
  }: { size: number; first: number; random: RandomStream; most?: number; sizeOf?: (item: Item) => number },
): AsyncGenerator<Item> {
  const buffer: Item[] = []
  let drawn = 0
  let held = 0
  const draw = (): Item => {
    const at = random.integer(buffer.length)
    const last = buffer.pop()!
    const item = at === buffer.length ? last : buffer[at]!
    if (at < buffer.length) buffer[at] = last
    held -= sizeOf(item)
    return item
  }
  for await (const item of items) {
    buffer.push(item)
    held += sizeOf(item)
    if (buffer.length < Math.min(size, first + drawn) && held < most) continue
    do {
      yield draw()
      drawn++
    } while (held >= most && buffer.length > 0)
  }
  while (buffer.length > 0) yield draw()
}
