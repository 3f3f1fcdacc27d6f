import { describe, expect, it } from 'vitest'
import { Sampler } from '../../lib/data/sampler.js'

const indices = (sampler: Sampler, steps: number) =>
  Array.from({ length: steps }, (_, step) => sampler.rowsOfStep(step).map(({ index }) => index))

describe('Sampler', () => {
  it('takes rows in order, and from the start again after the last', () => {
    const sampler = new Sampler({ rows: 5, batchSize: 3, seed: 1, shuffle: false })
    expect(indices(sampler, 4)).toEqual([
      [0, 1, 2],
      [3, 4, 0],
      [1, 2, 3],
      [4, 0, 1],
    ])
    expect(sampler.steps).toBe(Number.POSITIVE_INFINITY)
  })

  it('refuses no rows, and steps of none', () => {
    expect(() => new Sampler({ rows: 0, batchSize: 1, seed: 1, shuffle: false })).toThrow(/positive integer for rows/)
    expect(() => new Sampler({ rows: 1, batchSize: 0.5, seed: 1, shuffle: false })).toThrow(/integer for batchSize/)
  })

  it('T3 ends with a step of the rows that are left', () => {
    const sampler = new Sampler({ rows: 5, batchSize: 3, seed: 1, shuffle: false, epochs: 2 })
    expect(sampler.steps).toBe(4)
    expect(indices(sampler, 4).at(-1)).toEqual([4])
    expect(sampler.rowsOfStep(3)).toEqual([{ index: 4, row: 0 }])
    expect(sampler.epochAfter(1)).toBeCloseTo(0.6)
    expect(sampler.epochAfter(4)).toBe(2)
  })

  it('shuffles every epoch anew, each row once an epoch', () => {
    const sampler = new Sampler({ rows: 20, batchSize: 4, seed: 1, shuffle: true, epochs: 2 })
    const epochs = [indices(sampler, 10).slice(0, 5).flat(), indices(sampler, 10).slice(5).flat()]
    for (const epoch of epochs)
      expect([...epoch].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(epochs[0]).not.toEqual(epochs[1])
    const other = new Sampler({ rows: 20, batchSize: 4, seed: 2, shuffle: true })
    expect(indices(other, 5).flat()).not.toEqual(epochs[0])
  })

  it('T21 takes the same rows for a step whenever it is asked', () => {
    const options = { rows: 7, batchSize: 3, seed: 5, shuffle: true }
    const all = indices(new Sampler(options), 12)
    const resumed = new Sampler(options)
    for (const step of [11, 2, 7, 0]) expect(resumed.rowsOfStep(step).map(({ index }) => index)).toEqual(all[step])
  })

  it('T2 divides a step among ranks, so that together they take what one takes', () => {
    const options = { rows: 11, batchSize: 4, seed: 5, shuffle: true, epochs: 1 }
    const alone = new Sampler(options)
    const ranks = [0, 1].map((rank) => new Sampler({ ...options, rank, size: 2 }))
    for (let step = 0; step < alone.steps; step++) {
      const together = ranks.flatMap((sampler) => sampler.rowsOfStep(step)).sort((a, b) => a.row - b.row)
      expect(together).toEqual(alone.rowsOfStep(step))
    }
  })
})
