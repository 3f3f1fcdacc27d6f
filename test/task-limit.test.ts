import { describe, expect, it } from 'vitest'
import { inParallel, taskLimit } from '../lib/task-limit.js'

/** A task that notes when it begins, and ends when it is told to. */
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
    // Places that tasks gave back are there for later ones.
    void inTurn(() => task(4))
    void inTurn(() => task(5))
    void inTurn(() => task(6))
    await settled()
    expect(begun).toEqual([0, 1, 2, 3, 4, 5])
  })
})

describe('inParallel', () => {
  it('gives results in the order of the items, whichever ends first', async () => {
    const { ends, task } = tasks()
    const results = inParallel([0, 1], 2, task)
    await settled()
    ends[1]!()
    ends[0]!()
    expect(await results).toEqual([0, 1])
    expect(await inParallel([], 2, task)).toEqual([])
  })

  it('starts nothing after a failure, waits for what runs, and throws what failed first', async () => {
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
