/** The parts of the page that need no browser. */
import { describe, expect, it } from 'vitest'
import { MetricTable } from '../../lib/dashboard/metric-table.ts'
import { chartColumns, joinedBySteps, smoothed, valueAt } from '../../lib/dashboard/page/chart-data.js'
import { spread } from '../../lib/dashboard/page/chart-table.js'
import { formatBytes, formatCount, formatNumber, formatTick } from '../../lib/dashboard/page/format.js'
import { joined } from '../../lib/dashboard/page/source.js'

describe('metrics in the page', () => {
  it('are, joined from what came bit by bit, what they are as a whole', () => {
    const table = new MetricTable(['loss'], ['tokens'])
    const reward = new MetricTable(['value'])
    const none = new MetricTable([]).since(null)
    let known
    for (let step = 1; step <= 5_000; step++) {
      table.add(step, { loss: Math.cos(step), tokens: 7 * step })
      if (step % 3 === 0) reward.add(step, { value: Math.sin(step) })
      if (step % 70 !== 0 && step < 5_000) continue
      const steps = table.since(known ? known.steps : null)
      const own = [{ name: 'reward', ...reward.since(known ? known.own[0] : null) }]
      known = joined(known, { version: 'v', steps, evaluations: none, own, malformed: 0, hasMoreOwn: false })
    }
    expect(known.steps).toEqual(table.since(null))
    expect(known.own).toEqual([{ name: 'reward', ...reward.since(null) }])
  })

  it('of another version replace what was known', () => {
    const part = (version) => ({
      version,
      steps: { from: 0, steps: [1], at: {}, metrics: {} },
      evaluations: { from: 0 },
      own: [],
    })
    expect(joined(part('a'), part('b'))).toEqual(part('b'))
  })
})

describe('columns of a chart', () => {
  const runOf = (steps, loss) => ({ metrics: { steps: { steps, metrics: { loss } } } })
  const metric = { name: 'loss', table: 'steps', noisy: true }
  const plain = { smoothing: 0, logarithmic: false }

  it('share the steps of all runs; a step that a run has not is no gap', () => {
    const runs = [runOf([1, 2, 3], { mean: [5, null, 3] }), runOf([2, 4], { mean: [8, 7] })]
    const [steps, , , , first, , , , second] = chartColumns(runs, metric, plain)
    expect(steps).toEqual([1, 2, 3, 4])
    expect(first).toEqual([5, null, 3, undefined])
    expect(second).toEqual([undefined, 8, undefined, 7])
  })

  it('have a band, or the values behind a smoothed line', () => {
    const run = runOf([1, 2], { mean: [4, 2], low: [3, 1], high: [5, 3] })
    expect(chartColumns([run], metric, plain)).toEqual([
      [1, 2],
      [3, 1],
      [5, 3],
      [null, null],
      [4, 2],
    ])
    const [, low, , raw, line] = chartColumns([run], metric, { ...plain, smoothing: 0.5 })
    expect([low, raw]).toEqual([
      [null, null],
      [4, 2],
    ])
    expect(line).toEqual([4, (0.25 * 4 + 0.5 * 2) / 0.75])
  })

  it('by powers of ten have nothing of zero and below', () => {
    const run = runOf([1, 2, 3], { mean: [1, 0, -1] })
    expect(chartColumns([run], metric, { ...plain, logarithmic: true })[4]).toEqual([1, null, null])
  })

  it('are smoothed over gaps, and begin at the first value', () => {
    expect(smoothed([2, null, 2, 2], 0.9).map((value) => value && Number(value.toFixed(12)))).toEqual([2, null, 2, 2])
  })

  it('of many runs stay in the order of the steps', () => {
    const tables = [
      [
        [1, 10],
        ['a', 'b'],
      ],
      [
        [2, 9],
        ['c', 'd'],
      ],
    ]
    expect(joinedBySteps(tables)[0]).toEqual([1, 2, 9, 10])
  })

  it('are read at a step, or at the last one before', () => {
    const column = [1, undefined, null, undefined]
    expect([0, 1, 2, 3, 9].map((place) => valueAt(column, place))).toEqual([1, 1, null, null, null])
  })
})

describe('numbers of the page', () => {
  it('are short and keep the digits that matter', () => {
    expect([1.23456, 0.0123456, 1e-5, 26719.4, 3e7, 0, null, undefined].map(formatNumber)).toEqual([
      ...['1.2346', '0.01235', '1.000e-5', '26719', '3.000e7', '0', '–', '–'],
    ])
    expect([999, 1000, 3.24e9, null].map(formatBytes)).toEqual(['999 B', '1.0 KB', '3.2 GB', '–'])
    expect([1234567.8, null].map(formatCount)).toEqual(['1,234,568', '–'])
  })

  it('tell ticks of an axis apart', () => {
    const ticks = [0.00029985, 0.0002999, 0.00029995, 0.0003]
    expect(new Set(ticks.map((tick) => formatTick(tick, 5e-8))).size).toBe(4)
    expect([20_000, 40_000, 1_500_000, 2e9].map((tick) => formatTick(tick, 500))).toEqual(['20k', '40k', '1.5M', '2G'])
    expect([0.001, 0.1, 10].map((tick) => formatTick(tick, 0))).toEqual(['0.001', '0.1', '10'])
  })

  it('are spread over a table with both ends', () => {
    expect(spread(5, 50)).toEqual([0, 1, 2, 3, 4])
    expect(spread(1000, 5)).toEqual([0, 250, 500, 749, 999])
    expect([spread(0, 5), spread(1, 5)]).toEqual([[], [0]])
  })
})
