/** Limits how many tasks run at once. */

interface Waiting {
  readonly size: number
  begin(): void
}

/** Places for tasks. Waiting tasks take them, the smallest first, and equal ones in the order of arrival. */
export class SmallestFirst {
  readonly #waiting: Waiting[] = []
  #free: number

  /** @param places tasks that run at once */
  constructor(places: number) {
    this.#free = places
  }

  async run<Result>(size: number, task: () => Promise<Result>): Promise<Result> {
    if (this.#free === 0) await new Promise<void>((begin) => this.#wait({ size, begin }))
    else this.#free--
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next.begin()
      else this.#free++
    }
  }

  #wait(one: Waiting): void {
    const later = this.#waiting.findIndex(({ size }) => size > one.size)
    this.#waiting.splice(later < 0 ? this.#waiting.length : later, 0, one)
  }
}

/** Returns a function that runs tasks, at most `atATime` at once; others wait their turn, first in first out. */
export function taskLimit(atATime: number): <R>(task: () => Promise<R>) => Promise<R> {
  const places = new SmallestFirst(atATime)
  return (task) => places.run(0, task)
}

/** Like `Promise.all` of `map`, a few at a time. After a failure it starts no more and waits for the running ones. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const inTurn = taskLimit(atOnce)
  const failures: unknown[] = []
  const attempt = async (item: Item) => {
    if (failures.length === 0) return work(item).catch((error: unknown) => void failures.push(error))
  }
  const results = await Promise.all(items.map((item) => inTurn(() => attempt(item))))
  if (failures.length > 0) throw failures[0]
  return results as Result[]
}

/**
 * Yields the results of `work` for each item, in order, while it works on up to `ahead()` later items. A failure is thrown in the
 * place of its item's result and ends the iteration.
 */
export async function* mapAhead<Item, Result>(
  items: AsyncIterable<Item> | Iterable<Item>,
  ahead: () => number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const results: Promise<Result>[] = []
  const source = each(items)
  try {
    for (let isDone = false; !isDone; ) {
      const read = await source.next().then(
        ({ done = false, value }) => ({ done, result: done ? undefined : work(value as Item) }),
        (error) => ({ done: true, result: Promise.reject(error) as Promise<Result> }),
      )
      const { result } = read
      isDone = read.done
      // The failure is thrown when its result is awaited, which may be later.
      result?.catch(() => {})
      if (result) results.push(result)
      while (results.length > (isDone ? 0 : ahead())) yield await results.shift()!
    }
  } finally {
    await source.return(undefined)
  }
}

async function* each<Item>(items: AsyncIterable<Item> | Iterable<Item>): AsyncGenerator<Item> {
  yield* items
}
