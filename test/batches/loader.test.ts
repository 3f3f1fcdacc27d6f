import { beforeAll, describe, expect, it } from 'vitest'
import type { Batch } from '../../lib/batches/batch.js'
import { loadDataset } from '../../lib/batches/dataset.js'
import { DataLoader } from '../../lib/batches/loader.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'

const rows = Array.from({ length: 7 }, (_, i) => ({ ids: Array.from({ length: i + 2 }, () => 10 * i) }))
let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
})

async function collect(loader: AsyncIterable<Batch>): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of loader) batches.push(batch)
  return batches
}

const firstIds = (batches: Batch[]) =>
  batches.map(({ ids, offsets }) => [...offsets.slice(0, -1)].map((at) => ids[at]! / 10))

describe('DataLoader', () => {
  it('yields all rows of a step as one batch', async () => {
    const batches = await collect(new DataLoader(rows, { batchSize: 3, shuffle: false }))
    expect(firstIds(batches)).toEqual([[0, 1, 2], [3, 4, 5], [6]])
    expect(batches[0]).toMatchObject({ rows: 3, targetTokens: 1 + 2 + 3 })
    expect([...batches[1]!.rowKeys].at(-1)).toBe((2n << 32n) + 6n)
  })

  it('pads to the longest row of the batch without packing', async () => {
    const [batch] = await collect(new DataLoader(rows, { batchSize: 3, shuffle: false, packing: false }))
    expect([...batch!.offsets]).toEqual([0, 4, 8, 12])
    expect(batch!.targetTokens).toBe(6)
  })

  it('takes a data set, an iterable and an async iterable of the same rows', async () => {
    const values = rows.map(({ ids }) => ({ input_ids: ids }))
    const data = await loadDataset(values, { tokenizer: null })
    const async = async function* () {
      yield* values
    }
    const expected = await collect(new DataLoader(rows, { batchSize: 3, shuffle: false }))
    for (const source of [data, new Set(values), async()]) {
      expect(await collect(new DataLoader(source, { batchSize: 3, shuffle: false }))).toEqual(expected)
    }
  })

  it('has each answer of a pair in a document of its own', async () => {
    const pairs = [0, 1].map((i) => ({ prompt_ids: [1, 5], chosen_ids: [7 + i], rejected_ids: [9, 2], margin: i }))
    const data = await loadDataset(pairs, { tokenizer: null, rows: 'pairs' })
    for (const packing of [true, false]) {
      const [batch] = await collect(new DataLoader(data, { batchSize: 2, shuffle: false, packing }))
      expect([...batch!.offsets]).toEqual(packing ? [0, 3, 7, 10, 14] : [0, 4, 8, 12, 16])
      expect([...batch!.targets].filter((target) => target >= 0)).toEqual([7, 9, 2, 8, 9, 2])
      expect([...batch!.labels!]).toEqual([0, 0, 1, 0])
    }
  })

  it('tokenises rows of text', async () => {
    const [batch] = await collect(new DataLoader([{ prompt: 'How many?', completion: 'six' }], { tokenizer }))
    expect(await tokenizer.decode(batch!.ids)).toBe('<|begin|>How many?six<|end|>')
    expect(batch!.targetTokens).toBe((await tokenizer.encode('six')).length + 1)
  })

  it('continues where another one was, by load', async () => {
    const options = { batchSize: 2, seed: 5, epochs: 2 }
    const first = new DataLoader(rows, options)
    const seen: Batch[] = []
    for await (const batch of first) if (seen.push(batch) === 3) break
    const rest = new DataLoader(rows, options)
    rest.load(JSON.parse(JSON.stringify(first.state())))
    expect([...seen, ...(await collect(rest))]).toEqual(await collect(new DataLoader(rows, options)))
    expect(() => rest.load({ step: -1 })).toThrow('Expected a whole number of at least 0 for step but received -1.')
  })

  it('names a malformed row', async () => {
    for (const row of [null, 'text', 3]) {
      const loader = new DataLoader([row] as unknown as { ids: number[] }[])
      await expect(collect(loader)).rejects.toThrow(/row 1: expected an object of columns/)
    }
  })

  it('T21 resumes where another one stopped', async () => {
    const options = { batchSize: 2, seed: 3, epochs: 2 }
    const all = await collect(new DataLoader(rows, options))
    const stopped = new DataLoader(rows, options)
    for await (const _ of stopped) if (stopped.state().step === 3) break
    expect(await collect(new DataLoader(rows, { ...options, state: stopped.state() }))).toEqual(all.slice(3))
    const stream = async function* () {
      yield* rows
    }
    const inOrder = await collect(new DataLoader(rows, { batchSize: 2, shuffle: false }))
    expect(await collect(new DataLoader(stream(), { batchSize: 2, state: { step: 1 } }))).toEqual(inOrder.slice(1))
  })

  it('draws the rows of a stream from a buffer in an order that the seed determines, and resumes in it', async () => {
    const many = Array.from({ length: 40 }, (_, i) => ({ ids: [10 * i, 1] }))
    const stream = async function* () {
      yield* many
    }
    const options = { batchSize: 3, shuffle: true, shuffleBuffer: 5, seed: 2 }
    const all = await collect(new DataLoader(stream(), options))
    const order = firstIds(all).flat()
    expect(order.toSorted((a, b) => a - b)).toEqual(many.map((_, i) => i))
    expect(order).not.toEqual(many.map((_, i) => i))
    for (const [place, id] of order.entries()) expect(id).toBeLessThan(place + 5)
    expect(firstIds(await collect(new DataLoader(stream(), { ...options, seed: 3 }))).flat()).not.toEqual(order)
    expect(await collect(new DataLoader(stream(), { ...options, state: { step: 4 } }))).toEqual(all.slice(4))
    const odd = [...many.slice(0, 9), { foo: 1 }]
    await expect(collect(new DataLoader(new Set(odd), options))).rejects.toThrow(/^row 10: no form/)
  })

  it('refuses a buffer for rows that have none, to repeat a stream, and malformed rows by their number', async () => {
    expect(() => new DataLoader(new Set(rows), { shuffleBuffer: 3 })).toThrow(/stream with shuffle: true/)
    expect(() => new DataLoader(rows, { shuffle: true, shuffleBuffer: 3 })).toThrow(/all other rows are shuffled whole/)
    expect(() => new DataLoader(new Set(rows), { epochs: 2 })).toThrow(/stream has one epoch/)
    await expect(collect(new DataLoader([{ foo: 1 }], {}))).rejects.toThrow(/row 1: no form of rows has the columns/)
  })

  it('refuses steps without rows, and rows that cannot be one row of a step', async () => {
    for (const batchSize of [0, 1.5, Number.NaN])
      expect(() => new DataLoader(rows, { batchSize })).toThrow(/positive integer for batchSize/)
    await expect(collect(new DataLoader([], {}))).rejects.toThrow(/has no row/)
    for (const [row, message] of [
      [{ ids: [1, 2], mask: [1] }, /row 1: mask: expected 2 entries but received 1/],
      [{ ids: [1, 2], weight: -1 }, /row 1: weight: expected a number of at least 0 but received -1/],
      [{ ids: [1, 2], label: 'good' }, /row 1: label: expected a number but received "good"/],
      [{ text: 'one two three four' }, /row 1: its text has more than 2 tokens; use loadDataset/],
      [{ input_ids: [1, 2], labels: [-100, -100] }, /row 1: nothing in it is trained/],
    ] as const)
      await expect(collect(new DataLoader([row], { tokenizer, maxLength: 2 }))).rejects.toThrow(message)
  })

  it('keeps weights and labels of rows of ids, as of other rows', async () => {
    const weighed = [{ ids: [1, 2], weight: 0.5, label: 3 }, { ids: [4, 5] }]
    const [batch] = await collect(new DataLoader(weighed, { shuffle: false }))
    expect([batch!.weights, batch!.labels]).toEqual([Float32Array.of(0.5, 1), Float32Array.of(3, 0)])
  })

  it('ends a stream with the rows that are left, and with nothing where none are', async () => {
    const tokens = async (count: number) => {
      const stream = new Set(rows.slice(0, count))
      return firstIds(await collect(new DataLoader(stream, { batchSize: 2 })))
    }
    expect(await tokens(3)).toEqual([[0, 1], [2]])
    expect(await tokens(4)).toEqual([
      [0, 1],
      [2, 3],
    ])
  })

  it('deals a step out to ranks, also of a stream, and gives one without a row an empty batch', async () => {
    for (const counted of [true, false]) {
      const of = async (rank: number, size: number) =>
        collect(new DataLoader(counted ? rows : new Set(rows), { batchSize: 3, shuffle: false, rank, size }))
      const [first, second] = [await of(0, 2), await of(1, 2)]
      expect([firstIds(first), firstIds(second)]).toEqual([
        [[0, 2], [3, 5], [6]],
        [[1], [4], []],
      ])
      expect(second[2]).toMatchObject({ rows: 0, targetTokens: 0 })
      // Dropout is keyed by the place within the step.
      expect([...second[0]!.rowKeys]).toEqual([(1n << 32n) + 0n, (1n << 32n) + 1n, (1n << 32n) + 2n])
    }
    expect(() => new DataLoader(rows, { rank: 2, size: 2 })).toThrow(/rank/)
  })
})
