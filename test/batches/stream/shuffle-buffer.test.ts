import { describe, expect, it } from 'vitest'
import { shuffled } from '../../../lib/batches/stream/shuffle-buffer.js'
import { randomStream } from '../../../lib/common/random.js'

async function* upTo(count: number, onRead: (read: number) => void = () => {}) {
  for (let i = 0; i < count; i++) {
    onRead(i + 1)
    yield i
  }
}

async function orderOf(count: number, { size = 8, first = 4, seed = 1 } = {}): Promise<number[]> {
  const order: number[] = []
  for await (const item of shuffled(upTo(count), { size, first, random: randomStream(seed, 'stream') }))
    order.push(item)
  return order
}

describe('a shuffle buffer', () => {
  it('gives each item once, in an order that its seed determines', async () => {
    const order = await orderOf(50)
    expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(await orderOf(50)).toEqual(order)
    expect(await orderOf(50, { seed: 2 })).not.toEqual(order)
    expect(order).not.toEqual(order.toSorted((a, b) => a - b))
  })

  it('is bounded: an item comes before those that the buffer has not reached', async () => {
    const order = await orderOf(200, { size: 8, first: 4 })
    for (const [place, item] of order.entries()) expect(item).toBeLessThan(place + 8)
  })

  it('begins with few items, and reads two for each that is drawn until it is full', async () => {
    let read = 0
    const items = upTo(1000, (count) => {
      read = count
    })
    const readBefore: number[] = []
    for await (const _ of shuffled(items, { size: 7, first: 4, random: randomStream(1, 'stream') })) {
      readBefore.push(read)
      if (readBefore.length === 7) break
    }
    expect(readBefore).toEqual([4, 6, 8, 10, 11, 12, 13])
  })

  it('is bounded in the sizes of its items, whatever their number', async () => {
    const order: number[] = []
    let [held, most] = [0, 0]
    const items = upTo(60, () => {
      held += 10
      most = Math.max(most, held)
    })
    const bounds = { size: 50, first: 40, most: 30, sizeOf: () => 10 }
    for await (const item of shuffled(items, { ...bounds, random: randomStream(1, 'stream') })) {
      held -= 10
      order.push(item)
    }
    expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, i) => i))
    expect(most).toBeLessThanOrEqual(40)
  })

  it.each([0, 1, 3])('gives what there is of %i items', async (count) => {
    expect(await orderOf(count)).toHaveLength(count)
  })

  it('of one item leaves the order as it is', async () => {
    expect(await orderOf(5, { size: 1 })).toEqual([0, 1, 2, 3, 4])
  })
})
