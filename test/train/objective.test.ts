/** A run takes its rows and its loss from an objective: here from one of pairs, divided by pairs. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { packBatch } from '../../lib/batches/packing.js'
import type { Objective } from '../../lib/objectives/objective.js'
import type { TrainOptions } from '../../lib/train/train.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { localRanks } from './local-ranks.js'
import { TinyModel } from './tiny-model.js'
import { LAYERS, type Outcome, rows, steps, tightMemory, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

const piece = ({ input_ids: ids }: { input_ids: number[] }) => ({
  ids: Int32Array.from(ids),
  mask: new Uint8Array(ids.length).fill(1),
})

/** Pairs of ragged texts, and a file of as many lines. */
const pairsOf = (count: number) => rows(count).map((row, i) => [piece(row), piece(rows(1, { first: 3 * i + 2 })[0]!)])
const isLonger = ([first, second]: number[]) => first! > second!

const pairs: Objective = {
  name: 'pairs',
  metrics: ['longer'],
  smallRow: [piece({ input_ids: [0, 0] }), piece({ input_ids: [0, 0] })],
  async load([source]) {
    const path = source as string
    const read = pairsOf(readFileSync(path, 'utf8').trimEnd().split('\n').length)
    const rowLength = (index: number) => read[index]!.reduce((sum, { ids }) => sum + ids.length, 0)
    const tokens = read.reduce((sum, _, i) => sum + rowLength(i), 0)
    const summary = { tokens, trainedSpecialTokens: [] }
    const parts = [{ rows: read.length, weight: undefined, source: path }]
    return { length: read.length, rowLength, row: (index) => ({ documents: read[index]! }), parts, summary, hash: path }
  },
  async loss(model, batch, options) {
    const { loss } = await model.lossAsync(batch, options)
    const lengths = Array.from(batch.offsets.slice(1), (end, i) => end - batch.offsets[i]!)
    const both = lengths.flatMap((length, i) => (i % 2 === 0 ? [[length, lengths[i + 1]!]] : []))
    const weight = both.length
    return { loss, weight, metrics: { longer: { sum: both.filter(isLonger).length, weight } } }
  },
}

function optionsOf(changes: Partial<TrainOptions> = {}): TrainOptions {
  const data = writeRows(folder(), 'pairs.jsonl', rows(7))
  return { data, evalData: data, evalEvery: 2, batchSize: 5, epochs: 2, shuffle: false, ...changes }
}

const means = ({ events }: Outcome) =>
  events.flatMap((event) => (event.type === 'step' || event.type === 'evaluation' ? [event.metrics] : []))
const losses = (outcome: Outcome) => steps(outcome).map(({ loss }) => loss)

describe('an objective of pairs', () => {
  it('keeps a pair in one micro-batch, whatever limits it', async () => {
    const wanted = pairsOf(60).map((pair) => pair.map(({ ids }) => [...ids]))
    const data = writeRows(folder(), 'many.jsonl', rows(60))
    const course = { data, batchSize: 30, maxSteps: 2 }
    const some = [{ microBatchSize: 1 }, { microBatchSize: 4, packing: false }, { memory: tightMemory }]
    for (const limits of some) {
      const model = new TinyModel()
      const memory = limits.memory?.(model)
      await trainTiny({ ...course, ...limits, memory, objective: pairs }, { model })
      expect(model.seen.length).toBeGreaterThan(2)
      for (const { batch } of model.seen) {
        const documents = Array.from(batch.offsets.slice(1), (end, i) => [...batch.ids.slice(batch.offsets[i]!, end)])
        expect(documents.length).toBeGreaterThan(0)
        for (let i = 0; i < documents.length; i += 2) {
          const found = wanted.some((pair) =>
            pair.every((ids, j) => ids.every((id, t) => documents[i + j]?.[t] === id)),
          )
          expect(found).toBe(true)
        }
      }
    }
  })

  it('is divided by pairs, however a step is split among passes and ranks', async () => {
    const whole = await trainTiny(optionsOf({ objective: pairs }))
    const fresh = new TinyModel()
    fresh.addAdapter('default', mora({ targetModules: LAYERS }), { seed: 7 })
    const first = pairsOf(5).flatMap((pair, row) => pair.map((one) => ({ ...one, row })))
    const sum = await (await fresh.lossAsync(packBatch(first))).loss.item()
    expect(losses(whole)[0]).toBeCloseTo(sum / 5, 10)

    const cut = await trainTiny(optionsOf({ microBatchSize: 1, objective: pairs }))
    const dealt = await Promise.all(
      localRanks(2).map((ranks) => trainTiny(optionsOf({ microBatchSize: 2, ranks, objective: pairs }))),
    )
    for (const other of [cut, ...dealt]) {
      for (const [i, loss] of losses(other).entries()) expect(Math.abs(loss / losses(whole)[i]! - 1)).toBeLessThan(1e-6)
      expect(means(other)).toEqual(means(whole))
    }
  })

  it('reports its own means in events and metrics.jsonl', async () => {
    const output = join(folder(), 'out')
    const run = await trainTiny(optionsOf({ output, microBatchSize: 2, objective: pairs }))
    const longer = pairsOf(7).map((pair) => Number(isLonger(pair.map(({ ids }) => ids.length))))
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
    const twice = [...longer, ...longer]
    const wanted = [twice.slice(0, 5), twice.slice(5, 10), longer, twice.slice(10), longer].map(mean)
    expect(new Set(wanted).size).toBeGreaterThan(2)
    expect(means(run).map((metrics) => metrics!.longer)).toEqual(wanted)
    const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trimEnd().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { longer: number }).longer)).toEqual(wanted)
  })

  it('has no means beside the loss if it is cross-entropy', async () => {
    const run = await trainTiny(optionsOf())
    expect(means(run).every((metrics) => metrics === undefined)).toBe(true)
    expect(steps(run).every((event) => !('metrics' in event))).toBe(true)
  })
})
