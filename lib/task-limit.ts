/** Lets at most `atATime` of the given tasks run; the others wait, first come first served. */
export function taskLimit(atATime: number): <R>(task: () => Promise<R>) => Promise<R> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (task) => {
    if (running === atATime) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await task()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

/** Like `Promise.all` of `map`, a few at a time. After a failure it starts nothing new and waits for what is running. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const inTurn = taskLimit(atOnce)
  const failures: unknown[] = []
  const attempt = async (item: Item): Promise<Result | undefined> => {
    if (failures.length > 0) return undefined
    try {
      return await work(item)
    } catch (error) {
      failures.push(error)
      return undefined
    }
  }
  const results = await Promise.all(items.map((item) => inTurn(() => attempt(item))))
  if (failures.length > 0) throw failures[0]
  return results as Result[]
}
