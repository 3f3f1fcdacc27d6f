import type { RandomStream } from '../../common/random.js'

export const DEFAULT_SHUFFLE_BUFFER = 10_000

/** Maximum number of characters in a buffer, without its last record. */
export const MOST_BUFFERED = 2 ** 27

/** Number of steps whose rows fill the buffer at the beginning. */
export const FIRST_STEPS = 4

/**
 * Yields items in random order, each drawn from a buffer of at most `size` items, whose sizes without the last one add up to
 * less than `most`. The buffer begins with `first` items and grows by one with each drawn item, so that the first item comes
 * soon. The order depends on the items and `random` alone.
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
