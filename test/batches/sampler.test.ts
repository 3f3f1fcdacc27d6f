import { describe, expect, it } from 'vitest'
import { Sampler } from '../../lib/batches/sampler.js'

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

  it('T21 returns the same rows for a step at any time', () => {
    const options = { rows: 7, batchSize: 3, seed: 5, shuffle: true }
    const all = indices(new Sampler(options), 12)
    const resumed = new Sampler(options)
    for (const step of [11, 2, 7, 0]) expect(resumed.rowsOfStep(step).map(({ index }) => index)).toEqual(all[step])
  })

  it('T2 divides a step among ranks, so that together they take the rows that one rank would', () => {
    const options = { rows: 11, batchSize: 4, seed: 5, shuffle: true, epochs: 1 }
    const alone = new Sampler(options)
    const ranks = [0, 1].map((rank) => new Sampler({ ...options, rank, size: 2 }))
    for (let step = 0; step < alone.steps; step++) {
      const together = ranks.flatMap((sampler) => sampler.rowsOfStep(step)).sort((a, b) => a.row - b.row)
      expect(together).toEqual(alone.rowsOfStep(step))
    }
  })

  describe('with weights', () => {
    const parts = [
      { rows: 3, weight: 3 },
      { rows: 12, weight: 1 },
      { rows: 5, weight: 1 },
    ]
    const options = { rows: 20, parts, batchSize: 4, seed: 1 }
    const partOf = (index: number) => (index < 3 ? 0 : index < 15 ? 1 : 2)
    const counts = (taken: number[]) => [0, 1, 2].map((part) => taken.filter((index) => partOf(index) === part).length)

    it.each([true, false])('gives each part its share of every epoch (shuffle: %s)', (shuffle) => {
      const all = indices(new Sampler({ ...options, shuffle }), 15)
      for (let epoch = 0; epoch < 3; epoch++) {
        expect(counts(all.slice(5 * epoch, 5 * epoch + 5).flat())).toEqual([12, 4, 4])
      }
    })

    it.each([true, false])('takes no row of a part again before all of it was taken (shuffle: %s)', (shuffle) => {
      const all = indices(new Sampler({ ...options, shuffle }), 15).flat()
      for (const [part, { rows }] of parts.entries()) {
        const taken = all.filter((index) => partOf(index) === part)
        for (const index of new Set(taken)) {
          const times = taken.filter((other) => other === index).length
          expect(Math.abs(times - taken.length / rows)).toBeLessThan(1)
        }
        expect(new Set(taken).size).toBe(rows)
      }
    })

    it('spreads parts evenly and keeps their order without shuffling', () => {
      const all = indices(new Sampler({ ...options, shuffle: false }), 15)
      expect(all.flat().filter((index) => partOf(index) === 1)).toEqual([...Array(12).keys()].map((i) => 3 + i))
      for (const step of all) expect(counts(step)[0]).toBeGreaterThanOrEqual(2)
    })

    it('T21 returns the same rows for a step at any time, and others with another seed', () => {
      const all = indices(new Sampler({ ...options, shuffle: true }), 15)
      const resumed = new Sampler({ ...options, shuffle: true })
      for (const step of [14, 3, 9, 0]) expect(resumed.rowsOfStep(step).map(({ index }) => index)).toEqual(all[step])
      expect(indices(new Sampler({ ...options, shuffle: true, seed: 2 }), 15)).not.toEqual(all)
    })

    it('counts epochs by the number of rows, and refuses a weight that yields no row', () => {
      const sampler = new Sampler({ ...options, shuffle: true, epochs: 2 })
      expect(sampler.steps).toBe(10)
      expect(sampler.epochAfter(5)).toBe(1)
      const tiny = [...parts.slice(1), { rows: 3, weight: 1e-6 }]
      expect(() => new Sampler({ ...options, parts: tiny, shuffle: true })).toThrow(
        /weight 0\.000001 of source 3.*none/,
      )
    })
  })
})
