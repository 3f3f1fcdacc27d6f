import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { TrainOptions } from '../../lib/train/train.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { localRanks } from './local-ranks.js'
import { notices, type Outcome, rows, steps, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

type GivenRow = ReturnType<typeof rows>[number]

/** Rows without an end; `given` counts them. */
function endless({ from = 0 } = {}) {
  const state = { given: 0, isClosed: false }
  async function* generated() {
    try {
      for (let first = from; ; first++) {
        state.given++
        yield rows(1, { first })[0]!
      }
    } finally {
      state.isClosed = true
    }
  }
  return { rows: generated(), state }
}

async function* once(values: readonly unknown[]) {
  yield* values
}

/** Rows that can be read again, and are then none. */
function onlyFirst(values: readonly unknown[]) {
  const left = [values]
  return { [Symbol.iterator]: () => (left.pop() ?? [])[Symbol.iterator]() }
}

const bits = ({ model }: Outcome) => model.values().map((values) => Buffer.from(values.buffer).toString('hex'))
const course = (outcome: Outcome) => steps(outcome).map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }))

/** The documents of each step, as lists of ids. */
const documents = ({ model }: Outcome): string[][] => {
  const ofStep: string[][] = []
  for (const { batch, step } of model.seen) {
    const own = Array.from({ length: batch.rows }, (_, i) =>
      batch.ids.subarray(batch.offsets[i], batch.offsets[i + 1]).join(),
    )
    ofStep[step! - 1] = [...(ofStep[step! - 1] ?? []), ...own]
  }
  return ofStep
}
const textOf = ({ input_ids }: GivenRow) => input_ids.join()

const common = { batchSize: 2, maxSteps: 20, dropout: 0.2 }

/** Rows whose first id is their source's. */
const marked = (id: number, count: number) => Array.from({ length: count }, (_, i) => ({ input_ids: [id, i % 11, 1] }))
const sourcesOf = (outcome: Outcome) =>
  documents(outcome)
    .flat()
    .map((ids) => Number(ids.split(',')[0]))

describe('a stream of rows', () => {
  it('makes the same steps as rows in memory if the order is the same', async () => {
    const options = { ...common, shuffle: false }
    const whole = await trainTiny({ ...options, data: rows(40) })
    const path = writeRows(folder(), 'train.jsonl', rows(40))
    for (const change of [{ data: once(rows(40)) }, { data: new Set(rows(40)) }, { data: path, shuffleBuffer: 5 }]) {
      const streamed = await trainTiny({ ...options, ...change })
      expect(course(streamed)).toEqual(course(whole))
      expect(bits(streamed)).toEqual(bits(whole))
    }
  })

  it('trains on rows without an end, reads about as many as it needs, and closes them', async () => {
    const { rows: data, state } = endless()
    const { result } = await trainTiny({ ...common, data, maxSteps: 5 })
    expect(result).toMatchObject({ steps: 5, stopped: false })
    // Ten rows, eight ahead, and a buffer that has grown to as many as were drawn.
    expect(state.given).toBeLessThan(60)
    await new Promise(setImmediate)
    expect(state.isClosed).toBe(true)
  })

  it('takes its first step when few rows are there', async () => {
    let given = 0
    let givenAtFirst = 0
    const data = (async function* () {
      for (; given < 1000; given++) yield rows(1, { first: given })[0]
    })()
    await trainTiny({ ...common, maxSteps: 3, data }, {}, (event) => {
      if (event.type === 'step' && event.step === 1) givenAtFirst = given
    })
    expect(givenAtFirst).toBeGreaterThan(0)
    expect(givenAtFirst).toBeLessThan(50)
  })

  it('draws rows from a buffer in an order that the seed determines', async () => {
    const options = { ...common, shuffleBuffer: 6 }
    const data = rows(40)
    const first = await trainTiny({ ...options, data })
    const order = documents(first).flat()
    expect(order.toSorted()).toEqual(data.map(textOf).toSorted())
    expect(order).not.toEqual(data.map(textOf))
    expect(documents(await trainTiny({ ...options, data: once(data) })).flat()).toEqual(order)
    expect(documents(await trainTiny({ ...options, data, seed: 8 })).flat()).not.toEqual(order)
  })

  it('is read again from its start when it ends, in another order', async () => {
    const data = marked(1, 7)
    const outcome = await trainTiny({ ...common, batchSize: 7, maxSteps: 3, shuffleBuffer: 7, data })
    const order = documents(outcome)
    expect(order.map((step) => step.toSorted())).toEqual(
      [0, 1, 2].map(() => data.map(({ input_ids }) => input_ids.join()).toSorted()),
    )
    expect(order[0]).not.toEqual(order[1])
    expect(steps(outcome).map(({ epoch }) => epoch)).toEqual([0, 1, 2])
  })

  it('is mixed by weights, each source from its start again when it ends', async () => {
    const data = [
      { data: once(marked(1, 100)), weight: 3 },
      { data: marked(2, 3), weight: 1 },
    ]
    const outcome = await trainTiny({ ...common, batchSize: 4, maxSteps: 5, data })
    for (const step of documents(outcome)) expect(step.map((ids) => ids[0]).toSorted()).toEqual(['1', '1', '1', '2'])
    expect(outcome.result.sources.map(({ source }) => source)).toEqual([
      'a stream of rows from memory, weight 3',
      'a stream of rows from memory, weight 1',
    ])
  })

  it('ends the run where a source says stop, or can be read only once', async () => {
    const data = [
      { data: marked(1, 4), weight: 1, stop: true },
      { data: marked(2, 3), weight: 1 },
    ]
    const stopped = await trainTiny({ ...common, data, output: join(folder(), 'stopped') })
    expect(stopped.result).toMatchObject({ steps: 4, stopped: false })
    expect(sourcesOf(stopped).filter((id) => id === 1)).toHaveLength(4)
    expect(notices(stopped)).toContainEqual(expect.stringMatching(/end after step 4 of 20, and it says stop/))
    const ended = await trainTiny({ ...common, data: once(rows(13)), shuffleBuffer: 3, evalData: rows(3) })
    expect(ended.result).toMatchObject({ steps: 7, stopped: false, evalLoss: expect.any(Number) })
    expect(notices(ended)).toContainEqual(
      expect.stringMatching(/end after step 7 of 20, and they can be read only once/),
    )
  })

  it('is mapped, filtered and limited in tokens, as rows in memory are', async () => {
    const longer = rows(60).map((row, i) => ({ number: i, row }))
    const options: Omit<TrainOptions, 'data'> = {
      ...common,
      shuffle: false,
      map: ({ row }) => row,
      filter: async ({ input_ids }) => (input_ids as number[]).length !== 5,
      maxTokens: 8,
    }
    const kept = rows(60).filter(({ input_ids: { length } }) => length !== 5 && length <= 8)
    const expected = await trainTiny({ ...common, shuffle: false, data: kept })
    const streamed = await trainTiny({ ...options, data: once(longer) })
    expect(documents(streamed)).toEqual(documents(expected))
    expect(bits(streamed)).toEqual(bits(expected))
    expect(notices(streamed)).toContainEqual(expect.stringMatching(/rows of more than maxTokens tokens were left out/))
    const whole = await trainTiny({ ...options, data: longer })
    expect(bits(whole)).toEqual(bits(expected))
    expect(notices(whole)).toContainEqual(expect.stringMatching(/rows of more than maxTokens tokens were left out/))
  })

  it('says at the first row of each source how rows are read, once', async () => {
    const sources = [rows(40), rows(40).map((row) => ({ ...row, note: 'a' }))]
    const data = sources.map((own) => ({ rows: once(own), weight: 1 }))
    const told = notices(await trainTiny({ ...common, maxSteps: 9, shuffleBuffer: 4, data }))
    expect(told.filter((notice) => notice.includes(' as tokens'))).toEqual([
      'a stream of rows from memory, weight 1: rows as tokens (input_ids, labels).',
      'a stream of rows from memory, weight 1: rows as tokens (input_ids, labels; not read: note).',
    ])
  })

  it.each(['data', 'evalData'])('of no rows is refused as empty: %s', async (option) => {
    const options = { ...common, data: rows(3), [option]: [] }
    await expectRejection(trainTiny(options), 'empty-data', /^the rows given: no row was found\.$/)
  })

  it('leaves evaluation data as it is, but for rows of more than maxTokens', async () => {
    const held = rows(9).map((row) => ({ ...row, held: true }))
    const options = { ...common, maxSteps: 1, data: rows(6) }
    const evalLoss = async (more: Partial<TrainOptions>, evalData = held) =>
      (await trainTiny({ ...options, evalData, ...more })).result.evalLoss
    const map = ({ input_ids, ...row }: Record<string, unknown>) => ({
      ...row,
      input_ids: row.held ? [1, 2] : input_ids,
    })
    expect(await evalLoss({ filter: (row) => !row.held, map })).toBe(await evalLoss({}))
    const short = held.filter(({ input_ids: { length } }) => length <= 6)
    expect(await evalLoss({ maxTokens: 6 })).toBe(await evalLoss({ maxTokens: 6 }, short))
  })

  it('gives map and filter each row once, in order, before it is shuffled', async () => {
    const seen: number[] = []
    const options: TrainOptions = {
      ...common,
      maxSteps: 6,
      shuffleBuffer: 5,
      data: once(rows(30).map((row, number) => ({ ...row, number }))),
      map: async ({ number, ...row }) => {
        seen.push(number as number)
        await new Promise(setImmediate)
        return row
      },
    }
    await trainTiny(options)
    expect(seen.length).toBeGreaterThan(11)
    expect(seen).toEqual(seen.map((_, i) => i))
  })

  it('is what a large file or a long array becomes if maxSteps is given, and a small one does not', async () => {
    const padded = rows(90).map((row) => ({ ...row, note: 'x'.repeat(100_000) }))
    const large = writeRows(folder(), 'large.jsonl', padded)
    const small = writeRows(folder(), 'small.jsonl', padded.slice(0, 60))
    const readOf = async (data: TrainOptions['data']) => {
      const { result } = await trainTiny({ ...common, maxSteps: 3, data })
      return result.sources.map(({ rows }) => rows)
    }
    expect((await readOf(large))[0]).toBeLessThan(60)
    expect(await readOf(small)).toEqual([60])
    expect((await readOf(rows(10_001)))[0]).toBeLessThan(60)
    expect(await readOf(rows(10_000))).toEqual([10_000])
  })

  it('reports rows as they are read, until the first step', async () => {
    const { events } = await trainTiny({
      ...common,
      maxSteps: 1,
      shuffle: false,
      data: once(rows(600)),
      batchSize: 300,
    })
    const types = events.map(({ type }) => type)
    expect(types.indexOf('progress')).toBeGreaterThanOrEqual(0)
    expect(types.lastIndexOf('progress')).toBeLessThan(types.indexOf('step'))
    expect(events[0]).toEqual({ type: 'progress', rows: 256, tokens: expect.any(Number) })
    const failing = trainTiny({ ...common, data: rows(600) }, {}, ({ type }) => {
      if (type === 'progress') throw new Error('not now')
    })
    await expect(failing).rejects.toThrow('not now')
  })

  it('are read no further once the run is stopped', async () => {
    let read = 0
    const many = (async function* () {
      for (const row of rows(4096)) {
        read++
        yield row
      }
    })()
    const stopped = trainTiny({ ...common, data: many, maxSteps: undefined }, {}, ({ type }, run) => {
      if (type === 'progress') run.stop().catch(() => {})
    })
    await expect(stopped).rejects.toMatchObject({ code: 'stopped' })
    expect(read).toBeLessThan(4096)
  })

  it('is shared by ranks: a step has the same rows whatever their number', async () => {
    const data = rows(40)
    const options = { ...common, batchSize: 3, maxSteps: 6, shuffleBuffer: 5, data }
    const alone = await trainTiny(options)
    const all = await Promise.all(localRanks(2).map((ranks) => trainTiny({ ...options, ranks })))
    for (const [step, own] of documents(alone).entries()) {
      const together = all.flatMap((outcome) => documents(outcome)[step] ?? [])
      expect(together.toSorted()).toEqual(own.toSorted())
    }
  })

  it('is refused if ranks are given other rows', async () => {
    const given = [rows(40), rows(40, { first: 1 })]
    const all = localRanks(2).map((ranks, i) =>
      expectRejection(
        trainTiny({ ...common, shuffleBuffer: 5, data: once(given[i]!), ranks }),
        'unlike-ranks',
        /^Rank 1 has first rows with sha256 \w+, but rank 0 has \w+/,
      ),
    )
    await Promise.all(all)
  })
})

describe('a resumed stream', () => {
  const stopAfterFive = (options: TrainOptions) =>
    trainTiny(options, {}, (event, run) => {
      if (event.type === 'step' && event.step === 5) void run.stop()
    })

  const mixtures: [string, () => TrainOptions['data']][] = [
    ['a file', () => writeRows(folder(), 'train.jsonl', rows(13))],
    ['rows without an end', () => endless().rows],
    ['rows that are read once', () => once(rows(60))],
    [
      'a mixture',
      () => [
        { data: writeRows(folder(), 'first.jsonl', rows(5)), weight: 3 },
        { data: endless({ from: 100 }).rows, weight: 2 },
      ],
    ],
  ]

  it.each(mixtures)('is the same bit for bit with %s', async (_, data) => {
    const options = { ...common, maxSteps: 12, shuffleBuffer: 4 }
    const whole = await trainTiny({ ...options, data: data(), output: join(folder(), 'whole') })
    const output = join(folder(), 'halves')
    const first = await stopAfterFive({ ...options, data: data(), output })
    const second = await trainTiny({ ...options, data: data(), output, resume: true })
    expect(second.result).toMatchObject({ steps: 12 })
    expect([...documents(first), ...documents(second).slice(5)]).toEqual(documents(whole))
    expect([...course(first), ...course(second)]).toEqual(course(whole))
    expect(bits(second)).toEqual(bits(whole))
  })

  it('refuses other rows before its place, unless data may change', async () => {
    const output = join(folder(), 'out')
    const options = { ...common, maxSteps: 12, shuffleBuffer: 4, output }
    await stopAfterFive({ ...options, data: once(rows(60)) })
    const changed = rows(60).map((row, i) => (i === 3 ? { ...row, input_ids: [1, 2], labels: [1, 2] } : row))
    await expectRejection(
      trainTiny({ ...options, data: once(changed), resume: true }),
      'changed-run',
      /already consumed have changed/,
    )
    await expectRejection(
      trainTiny({ ...options, data: once(rows(4)), resume: true }),
      'changed-run',
      /already consumed have changed/,
    )
    const { result } = await trainTiny({ ...options, data: once(changed), resume: true, allowChanges: ['data'] })
    expect(result.steps).toBe(12)
  })

  it.each<[string, Partial<TrainOptions>, RegExp]>([
    ['map', { map: (row) => ({ ...row, more: 1 }) }, /already consumed have changed/],
    ['filter', { filter: ({ input_ids }) => (input_ids as number[]).length > 3 }, /already consumed have changed/],
    ['maxTokens', { maxTokens: 9 }, /had data with sha256/],
    [
      'a weight',
      {
        data: [
          { data: once(rows(60)), weight: 2 },
          { data: rows(9), weight: 1 },
        ],
      },
      /had data with sha256/,
    ],
    ['number of sources', { data: [{ data: once(rows(60)), weight: 1 }] }, /had data with sha256/],
    ['shuffleBuffer', { shuffleBuffer: 5 }, /had shuffleBuffer 4, but now it is 5/],
    ['seed', { seed: 8 }, /had seed 7, but now it is 8/],
  ])('refuses another %s', async (_, change, message) => {
    const output = join(folder(), 'out')
    const mixed = () => [
      { data: once(rows(60)), weight: 1 },
      { data: rows(9), weight: 1 },
    ]
    const options = { ...common, maxSteps: 12, shuffleBuffer: 4, output }
    await stopAfterFive({ ...options, data: mixed() })
    await expectRejection(trainTiny({ ...options, data: mixed(), resume: true, ...change }), 'changed-run', message)
  })

  it('gives functions all rows again, so that those with a memory do as before', async () => {
    const unlike = (): TrainOptions['filter'] => {
      const seen = new Set<number>()
      return ({ input_ids }) => {
        const { length } = input_ids as number[]
        const isNew = !seen.has(length % 3)
        seen.add(length % 3)
        if (seen.size === 3) seen.clear()
        return isNew
      }
    }
    const options = () => ({ ...common, maxSteps: 8, shuffleBuffer: 4, data: endless().rows, filter: unlike() })
    const whole = await trainTiny({ ...options(), output: join(folder(), 'whole') })
    const output = join(folder(), 'halves')
    await stopAfterFive({ ...options(), output })
    expect(bits(await trainTiny({ ...options(), output, resume: true }))).toEqual(bits(whole))
  })

  it('that was read whole without maxSteps goes on so with it, as run.yaml has it', async () => {
    const options = { batchSize: 2, dropout: 0.2 }
    const whole = await trainTiny({ ...options, data: once(rows(40)), output: join(folder(), 'whole') })
    const output = join(folder(), 'halves')
    await stopAfterFive({ ...options, data: once(rows(40)), output })
    const second = await trainTiny({ ...options, data: once(rows(40)), output, maxSteps: 20, resume: true })
    expect(bits(second)).toEqual(bits(whole))
  })

  it('goes on as it began: run.yaml says how rows were read', async () => {
    const output = join(folder(), 'out')
    await trainTiny({ ...common, data: once(rows(60)), maxSteps: 2, output })
    const { options } = parse(readFileSync(join(output, 'run.yaml'), 'utf8')) as { options: Record<string, unknown> }
    expect(options).toMatchObject({ shuffleBuffer: 10_000, data: [{ stream: 'rows' }] })
    const whole = join(folder(), 'whole')
    const { result } = await trainTiny({ batchSize: 2, data: once(rows(60)), output: whole })
    expect(result.steps).toBe(30)
    expect(parse(readFileSync(join(whole, 'run.yaml'), 'utf8'))).toMatchObject({ options: { shuffleBuffer: 0 } })
  })
})

describe('a stream that cannot be', () => {
  it.each<[string, Partial<TrainOptions>, string, RegExp]>([
    [
      'epochs of rows that are read once',
      { epochs: 2 },
      'unfit-options',
      /can be read only once, so there are no 2 epochs/,
    ],
    ['a buffer without maxSteps', { shuffleBuffer: 3 }, 'unfit-options', /shuffleBuffer needs maxSteps/],
    ['no row', { data: once([]), maxSteps: 2, shuffleBuffer: 2 }, 'empty-data', /no row was found/],
    [
      'nothing to train',
      { data: [{ input_ids: [1, 2], labels: [-100, -100] }], maxSteps: 2, shuffleBuffer: 2 },
      'nothing-to-train',
      /nothing would be trained/,
    ],
    [
      'a source that stops, without maxSteps',
      { data: { data: rows(9), stop: true } },
      'missing-option',
      /give maxSteps/,
    ],
    [
      'one source of several that stops, without a weight',
      { data: [{ data: rows(9), stop: true }, { data: rows(9) }], maxSteps: 2 },
      'unfit-options',
      /^A source of several that says stop needs a weight/,
    ],
    [
      'rows that are not there a second time',
      { data: onlyFirst(rows(3)), maxSteps: 9, shuffleBuffer: 2 },
      'empty-data',
      /^the rows given: there was no row when it was read again/,
    ],
  ])('is refused in words: %s', async (_, change, code, message) => {
    const start = async () => trainTiny({ batchSize: 2, data: once(rows(9)), ...change })
    await expectRejection(start(), code, message)
  })

  it.each<[string, () => Partial<TrainOptions> & Pick<TrainOptions, 'data'>, RegExp]>([
    [
      'filter leaves out all',
      () => ({ data: endless().rows, filter: () => false }),
      /^the rows given: nothing would be trained in 100000 rows one after the other \(left out by filter\), so no more are read/,
    ],
    [
      'no row has a target',
      () => ({
        data: endless().rows,
        map: ({ input_ids }) => ({ input_ids, labels: (input_ids as number[]).map(() => -100) }),
      }),
      /nothing would be trained in 10000 rows one after the other \(no assistant's turn, all labels -100/,
    ],
  ])('ends if its source has no end and %s', async (_, change, message) => {
    await expectRejection(trainTiny({ ...common, ...change() }), 'nothing-to-train', message)
  })

  it.each(['shuffled', 'whole'])('says that filter leaves out all of rows with an end: %s', async (how) => {
    const options = { ...common, data: rows(9), filter: () => false, ...(how === 'shuffled' && { shuffleBuffer: 2 }) }
    await expectRejection(trainTiny(options), 'nothing-to-train', /in any of its 9 rows \(left out by filter\)/)
  })

  it('refuses what map returns if it cannot be told from other rows', async () => {
    const around: Record<string, unknown> = {}
    around.self = around
    const options: TrainOptions = { ...common, data: once(rows(60)), map: (row) => ({ ...row, around }) }
    await expectRejection(
      trainTiny(options),
      'malformed-row',
      /^row \d+ of the rows given: what map returned cannot be written as JSON/,
    )
  })

  it('names the row that is malformed, when it is read', async () => {
    const data = once([...rows(40), { input_ids: 'x' }, ...rows(20)])
    const { message } = (await trainTiny({ ...common, maxSteps: 30, shuffle: false, data }).catch(
      (error: unknown) => error,
    )) as Error
    expect(message).toMatch(/^row 41 of the rows given/)
  })

  it('stops while it waits for rows, with everything saved', async () => {
    const output = join(folder(), 'out')
    const data = (async function* () {
      yield* rows(30)
      await new Promise(() => {})
    })()
    const { result } = await trainTiny({ ...common, shuffle: false, data, output }, {}, (event, run) => {
      if (event.type === 'step' && event.step === 4) setTimeout(() => void run.stop(), 50)
    })
    expect(result.stopped).toBe(true)
    expect(existsSync(join(output, 'adapter_model.safetensors'))).toBe(true)
  })

  it('ends when its signal is aborted while it waits for rows', async () => {
    const controller = new AbortController()
    const data = (async function* () {
      yield* rows(30)
      await new Promise(() => {})
    })()
    const options = { ...common, shuffle: false, signal: controller.signal, data }
    const run = trainTiny(options, {}, (event) => {
      if (event.type === 'step' && event.step === 4) setTimeout(() => controller.abort(new Error('enough')), 50)
    })
    await expect(run).rejects.toThrow('enough')
  })

  it('ends to read rows that filter leaves out when it is aborted', async () => {
    const controller = new AbortController()
    const { rows: data, state } = endless()
    const filter = async () => {
      if (state.given === 100) controller.abort(new Error('enough'))
      return new Promise<boolean>((resolve) => setImmediate(resolve, state.given < 20))
    }
    await expect(trainTiny({ ...common, signal: controller.signal, data, filter })).rejects.toThrow('enough')
    for (let i = 0; i < 9; i++) await new Promise(setImmediate)
    expect(state).toEqual({ given: 101, isClosed: true })
  })
})
