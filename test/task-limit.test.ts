import { describe, expect, it } from 'vitest'
import { inParallel, mapAhead, taskLimit } from '../lib/common/task-limit.js'

/** A task that records when it begins, and ends on command. */
function tasks() {
  const begun: number[] = []
  const ends: ((error?: Error) => void)[] = []
  const task = (i: number) =>
    new Promise<number>((resolve, reject) => {
      begun.push(i)
      ends[i] = (error) => (error ? reject(error) : resolve(i))
    })
  return { begun, ends, task }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('taskLimit', () => {
  it('starts the next task when one ends, also by an error, in the order in which they came', async () => {
    const { begun, ends, task } = tasks()
    const inTurn = taskLimit(2)
    const results = Promise.allSettled([0, 1, 2, 3].map((i) => inTurn(() => task(i))))
    await settled()
    expect(begun).toEqual([0, 1])
    ends[1]!(new Error('one'))
    await settled()
    expect(begun).toEqual([0, 1, 2])
    ends[0]!()
    await settled()
    expect(begun).toEqual([0, 1, 2, 3])
    ends[2]!()
    ends[3]!()
    expect((await results).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    // Slots that tasks released are free for later ones.
    void inTurn(() => task(4))
    void inTurn(() => task(5))
    void inTurn(() => task(6))
    await settled()
    expect(begun).toEqual([0, 1, 2, 3, 4, 5])
  })
})

describe('inParallel', () => {
  it('returns results in the order of the items, whichever ends first', async () => {
    const { ends, task } = tasks()
    const results = inParallel([0, 1], 2, task)
    await settled()
    ends[1]!()
    ends[0]!()
    expect(await results).toEqual([0, 1])
    expect(await inParallel([], 2, task)).toEqual([])
  })

  it('starts nothing after a failure, waits for running tasks, and throws the first error', async () => {
    const { begun, ends, task } = tasks()
    let isOver = false
    const results = inParallel([0, 1, 2, 3], 2, task).finally(() => {
      isOver = true
    })
    results.catch(() => {})
    await settled()
    ends[1]!(new Error('first'))
    await settled()
    expect([begun, isOver]).toEqual([[0, 1], false])
    ends[0]!(new Error('second'))
    await expect(results).rejects.toThrow('first')
    expect(begun).toEqual([0, 1])
  })
})

describe('mapAhead', () => {
  async function* numbers(count: number, read: number[] = [], failsAt = -1) {
    for (let i = 0; i < count; i++) {
      read.push(i)
      if (i === failsAt) throw new Error(`no ${i}`)
      yield i
    }
  }
  /** The yielded results, and how the loop ends. */
  async function collected(results: AsyncIterable<number>) {
    const got: unknown[] = []
    try {
      for await (const result of results) got.push(result)
    } catch (error) {
      got.push((error as Error).message)
    }
    return got
  }

  it('yields results in the order of their items, and begins those that follow', async () => {
    const { begun, ends, task } = tasks()
    const results = collected(mapAhead(numbers(5), () => 2, task))
    await settled()
    expect(begun).toEqual([0, 1, 2])
    ends[2]!()
    ends[1]!()
    await settled()
    expect(begun).toEqual([0, 1, 2])
    ends[0]!()
    await settled()
    expect(begun).toEqual([0, 1, 2, 3, 4])
    ends[4]!()
    ends[3]!()
    expect(await results).toEqual([0, 1, 2, 3, 4])
  })

  it('ends at the first failed item, whichever failure comes first', async () => {
    const fail = async (i: number) => {
      if (i === 2) await settled()
      if (i >= 2) throw new Error(`failed ${i}`)
      return i
    }
    expect(await collected(mapAhead(numbers(9), () => 4, fail))).toEqual([0, 1, 'failed 2'])
    const read = mapAhead(
      numbers(9, [], 3),
      () => 8,
      async (i) => i,
    )
    expect(await collected(read)).toEqual([0, 1, 2, 'no 3'])
  })

  it('reads no more once nobody listens', async () => {
    const read: number[] = []
    for await (const i of mapAhead(
      numbers(9, read),
      () => 2,
      async (i) => i,
    ))
      if (i === 1) break
    expect(read).toEqual([0, 1, 2, 3])
  })
})
