import { describe, expect, it } from 'vitest'
import { microBatches, packBatch, planMicroBatches } from '../../lib/batches/packing.js'

const rows = [
  { ids: [5, 6, 7], mask: [0, 0, 1], row: 4 },
  { ids: [8, 9], mask: [1, 1], row: 1 },
]

describe('packBatch', () => {
  it('T14 starts positions anew and never predicts across documents', () => {
    const batch = packBatch(rows)
    expect([...batch.ids]).toEqual([5, 6, 7, 8, 9])
    expect([...batch.targets]).toEqual([-1, 7, -1, 9, -1])
    expect([...batch.positions]).toEqual([0, 1, 2, 0, 1])
    expect([...batch.offsets]).toEqual([0, 3, 5])
    expect(batch).toMatchObject({ targetTokens: 2, rows: 2 })
  })

  it('T14 keys dropout by row and position, whatever the packing', () => {
    const keys = [...packBatch(rows).rowKeys]
    expect(keys).toEqual([4n << 32n, (4n << 32n) + 1n, (4n << 32n) + 2n, 1n << 32n, (1n << 32n) + 1n])
    expect([...packBatch([rows[1]!]).rowKeys]).toEqual(keys.slice(3))
  })

  it('T13 pads at the end of a document, without a target', () => {
    const batch = packBatch(rows, { padTo: 4 })
    expect([...batch.ids]).toEqual([5, 6, 7, 0, 8, 9, 0, 0])
    expect([...batch.targets]).toEqual([-1, 7, -1, -1, 9, -1, -1, -1])
    expect([...batch.offsets]).toEqual([0, 4, 8])
    expect([...batch.positions]).toEqual([0, 1, 2, 3, 0, 1, 2, 3])
    expect(batch.targetTokens).toBe(2)
  })
})

describe('packBatch of unusual rows', () => {
  it('accepts rows with no token or one, and predicts nothing in them', () => {
    const batch = packBatch([
      { ids: [], mask: [], row: 0 },
      { ids: [7], mask: [1], row: 1 },
    ])
    expect([...batch.offsets]).toEqual([0, 0, 1])
    expect([...batch.targets]).toEqual([-1])
    expect(batch).toMatchObject({ targetTokens: 0, rows: 2 })
  })

  it('refuses a length that would fill the memory with pads', () => {
    expect(() => packBatch(rows, { padTo: 2 ** 31 })).toThrow(/a whole number from 0 to 16777216 for padTo/)
  })

  it('refuses values that are not rows, and names their kind', () => {
    const row = { ids: [5], mask: [1], row: 0 }
    const wrong = [{ mask: [1, 1] }, { mask: 'a' }, { mask: undefined }, { ids: [0.5] }, { ids: [] }, { row: 0.5 }]
    for (const part of wrong) {
      expect(() => packBatch([row, { ...row, ...part } as never]), JSON.stringify(part)).toThrow(
        /^Expected a list of rows of ids, mask and row for rows/,
      )
    }
    expect(packBatch([{ ...row, ids: Int32Array.of(5), mask: Uint8Array.of(1) }])).toEqual(packBatch([row]))
  })

  it('does not cut a row that is longer than the padded length', () => {
    const batch = packBatch(rows, { padTo: 3 })
    expect([...batch.ids]).toEqual([5, 6, 7, 8, 9, 0])
    expect([...batch.rowKeys]).toEqual(
      [0n, 1n, 2n].map((t) => (4n << 32n) | t).concat([0n, 1n, 2n].map((t) => (1n << 32n) | t)),
    )
  })
})

describe('planMicroBatches', () => {
  it('fits the longest first into the fullest pass with room', () => {
    expect(planMicroBatches([5, 3, 7, 3, 2], { tokenBudget: 10 })).toEqual([
      [0, 3, 4],
      [1, 2],
    ])
  })

  it('takes the first of passes with the same room, and fills one to its last token', () => {
    expect(planMicroBatches([5, 5, 2], { tokenBudget: 8 })).toEqual([[0, 2], [1]])
    expect(planMicroBatches([5, 6, 3, 2], { tokenBudget: 8 })).toEqual([
      [0, 2],
      [1, 3],
    ])
    // Longest first, so the second row comes to the third.
    expect(planMicroBatches([4, 1, 7], { tokenBudget: 8 })).toEqual([[0], [1, 2]])
  })

  it('takes the fullest of passes with room, whichever is older', () => {
    expect(planMicroBatches([15, 8, 8, 4], { tokenBudget: 20 })).toEqual([[0], [1, 2, 3]])
  })

  it('gives a row past the budget a pass of its own', () => {
    expect(planMicroBatches([20, 1, 1], { tokenBudget: 10 })).toEqual([[0], [1, 2]])
  })

  it('holds at most microBatchSize rows', () => {
    expect(planMicroBatches([1, 1, 1, 1, 1], { microBatchSize: 2 })).toEqual([[0, 1], [2, 3], [4]])
    expect(planMicroBatches([3, 2, 1])).toEqual([[0, 1, 2]])
  })

  it('takes every row once, within the limits, for any lengths', () => {
    for (let n = 0; n < 40; n++) {
      const lengths = Array.from({ length: n }, (_, i) => ((i * 37 + n * 11) % 29) + 1)
      const plan = planMicroBatches(lengths, { tokenBudget: 40, microBatchSize: 5 })
      expect(plan.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i))
      for (const pass of plan) {
        expect(pass.length).toBeLessThanOrEqual(5)
        expect(pass.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(40)
      }
    }
  })

  it('refuses limits below 1', () => {
    for (const limits of [{ tokenBudget: 0 }, { microBatchSize: 0 }, { tokenBudget: Number.NaN }])
      expect(() => planMicroBatches([1], limits)).toThrow(/at least 1/)
    expect(planMicroBatches([1, 1], { tokenBudget: 1 })).toEqual([[0], [1]])
    expect(planMicroBatches([1, 1], { microBatchSize: 1 })).toEqual([[0], [1]])
  })
})

describe('microBatches', () => {
  const document = (length: number, id: number) => ({
    ids: new Int32Array(length).fill(id),
    mask: new Uint8Array(length).fill(1),
  })
  const rows = [[document(3, 7), document(1, 7)], [document(2, 8)]].map((documents, i) => ({ documents, row: 4 + i }))
  const offsets = (options: Parameters<typeof microBatches>[1]) =>
    [...microBatches(rows, options)].map((batch) => [...batch.offsets])

  it('keeps the documents of a row in one pass, one after the other, with its keys', () => {
    expect(offsets({ packing: true, tokenBudget: 6 })).toEqual([[0, 3, 4, 6]])
    expect(offsets({ packing: true, tokenBudget: 5 })).toEqual([
      [0, 3, 4],
      [0, 2],
    ])
    const [batch] = microBatches(rows, { packing: true })
    expect([...batch!.rowKeys].map((key) => key >> 32n)).toEqual([4n, 4n, 4n, 4n, 5n, 5n])
  })

  it('pads to the longest of a pass without packing, and counts the longest of the step', () => {
    expect(offsets({ packing: false })).toEqual([[0, 3, 6, 9]])
    expect(offsets({ packing: false, tokenBudget: 8 })).toEqual([
      [0, 3, 6],
      [0, 2],
    ])
  })
})
