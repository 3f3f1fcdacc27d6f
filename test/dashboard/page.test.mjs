/** The parts of the page that need no browser. */
import { describe, expect, it } from 'vitest'
import { MetricTable } from '../../lib/dashboard/metric-table.ts'
import { chartColumns, joinedByPlaces, smoothed, valueAt } from '../../lib/dashboard/page/chart-data.js'
import { spread } from '../../lib/dashboard/page/chart-table.js'
import { courseOf, secondsLeft } from '../../lib/dashboard/page/course.js'
import { formatBytes, formatCount, formatDuration, formatNumber, formatTick } from '../../lib/dashboard/page/format.js'
import { colourOf, dashesOf, LOOKS } from '../../lib/dashboard/page/look.js'
import { chartsOf } from '../../lib/dashboard/page/metrics.js'
import { serveCommand } from '../../lib/dashboard/page/serve-command.js'
import { joined } from '../../lib/dashboard/page/source.js'

describe('metrics in the page', () => {
  it('joined piece by piece equal those read as a whole', () => {
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

/** A run as the page knows it, with these lines of steps and of an own metric. */
function runOf({ steps = [], at = {}, loss = { mean: [] }, evaluations = [], own = [], last, ...summary }) {
  const lastOf = (numbers, values) => (numbers.length > 0 ? { step: numbers.at(-1), values } : null)
  const table = (numbers, metrics, values) => ({
    steps: numbers,
    at: {},
    metrics,
    width: 1,
    last: lastOf(numbers, values),
  })
  return {
    number: 1,
    summary: { name: 'run', status: 'running', step: steps.at(-1) ?? null, totalSteps: null, ...summary },
    metrics: {
      steps: { ...table(steps, { loss }, { loss: loss.mean.at(-1) ?? null, ...last }), at },
      evaluations: table(
        evaluations.map(([step]) => step),
        { evalLoss: { mean: evaluations.map(([, value]) => value) } },
        { evalLoss: evaluations.at(-1)?.[1] },
      ),
      own: own.map(([name, numbers, mean]) => ({
        name,
        ...table(numbers, { value: { mean } }, { value: mean.at(-1) }),
      })),
      malformed: 0,
      hasMoreOwn: false,
    },
  }
}

describe('columns of a chart', () => {
  const metric = { name: 'loss', table: 'steps', noisy: true }
  const plain = { axis: 'step', smoothing: 0, logarithmic: false }
  const lossesOf = (...runs) => runs.map((run) => ({ run, metric }))

  it('share the steps of all runs; a step that a run has not is no gap', () => {
    const runs = [
      runOf({ steps: [1, 2, 3], loss: { mean: [5, null, 3] } }),
      runOf({ steps: [2, 4], loss: { mean: [8, 7] } }),
    ]
    const [steps, , , , first, , , , second] = chartColumns(lossesOf(...runs), plain)
    expect(steps).toEqual([1, 2, 3, 4])
    expect(first).toEqual([5, null, 3, undefined])
    expect(second).toEqual([undefined, 8, undefined, 7])
  })

  it('have the loss of training and evaluation over the same axis, by tokens and by time too', () => {
    const run = runOf({
      steps: [2, 4],
      at: { epoch: [0.2, 0.4], tokens: [100, 300], seconds: [1, 5] },
      loss: { mean: [5, 3] },
      evaluations: [
        [1, 6],
        [3, 4],
        [9, 3],
      ],
    })
    const curves = [
      { run, metric },
      { run, metric: { name: 'evalLoss', table: 'evaluations' } },
    ]
    const columnsOver = (axis) => {
      const [places, , , , training, , , , evaluation] = chartColumns(curves, { ...plain, axis })
      return { places, training, evaluation }
    }
    // Between two steps in proportion, before the first from nothing, after the last where that was.
    expect(columnsOver('tokens')).toEqual({
      places: [50, 100, 200, 300],
      training: [undefined, 5, undefined, 3],
      evaluation: [6, undefined, 4, 3],
    })
    expect(columnsOver('seconds').places).toEqual([0.5, 1, 3, 5])
    expect(columnsOver('epoch').places.map((place) => place.toFixed(2))).toEqual(['0.10', '0.20', '0.30', '0.40'])
  })

  it('leave out points without a place on the axis', () => {
    const run = runOf({ steps: [1, 2], at: { tokens: [100, null] }, loss: { mean: [5, 3] } })
    expect(chartColumns(lossesOf(run), { ...plain, axis: 'tokens' })).toEqual([[100], [null], [null], [null], [5]])
    expect(chartColumns(lossesOf(run), { ...plain, axis: 'seconds' })[0]).toEqual([])
  })

  it('are those of an own metric by its name', () => {
    const run = runOf({ steps: [1], own: [['reward', [3, 6], [0.5, 0.25]]] })
    const columns = chartColumns([{ run, metric: { name: 'reward', table: 'own' } }], plain)
    expect([columns[0], columns[4]]).toEqual([
      [3, 6],
      [0.5, 0.25],
    ])
  })

  it('have a band, or the values behind a smoothed line', () => {
    const run = runOf({ steps: [1, 2], loss: { mean: [4, 2], low: [3, 1], high: [5, 3] } })
    expect(chartColumns(lossesOf(run), plain)).toEqual([
      [1, 2],
      [3, 1],
      [5, 3],
      [null, null],
      [4, 2],
    ])
    const [, low, , raw, line] = chartColumns(lossesOf(run), { ...plain, smoothing: 0.5 })
    expect([low, raw]).toEqual([
      [null, null],
      [4, 2],
    ])
    expect(line).toEqual([4, (0.25 * 4 + 0.5 * 2) / 0.75])
  })

  it('on a logarithmic axis leave out values of zero and below', () => {
    const run = runOf({ steps: [1, 2, 3], loss: { mean: [1, 0, -1] } })
    expect(chartColumns(lossesOf(run), { ...plain, logarithmic: true })[4]).toEqual([1, null, null])
  })

  it('are smoothed over gaps, and begin at the first value', () => {
    expect(smoothed([2, null, 2, 2], 0.9).map((value) => value && Number(value.toFixed(12)))).toEqual([2, null, 2, 2])
  })

  it('of many runs stay in the order of the steps', () => {
    const tables = [
      { places: [1, 10], columns: [['a', 'b']] },
      { places: [2, 9], columns: [['c', 'd']] },
    ]
    expect(joinedByPlaces(tables)[0]).toEqual([1, 2, 9, 10])
  })

  it('are read at a step, or at the last one before', () => {
    const column = [1, undefined, null, undefined]
    expect([0, 1, 2, 3, 9].map((place) => valueAt(column, place))).toEqual([1, 1, null, null, null])
  })
})

describe('charts of runs', () => {
  it('are one for training and evaluation loss, one for each own metric by its name, and those that are known', () => {
    const own = [
      ['reward', [1], [2]],
      ['constructor', [1], [3]],
    ]
    const runs = [runOf({ steps: [1], loss: { mean: [5] }, own }), runOf({ evaluations: [[1, 2]], own: own.slice(1) })]
    expect(chartsOf(runs).map(({ title, metrics }) => [title, ...metrics.map(({ name }) => name)])).toEqual([
      ['Loss', 'loss', 'evalLoss'],
      ['reward', 'reward'],
      ['constructor', 'constructor'],
      ['Gradient norm', 'gradNorm'],
      ['Learning rate', 'learningRate'],
      ['Tokens per second', 'tokensPerSecond'],
      ['Peak memory', 'memoryBytes'],
    ])
    expect(chartsOf([runOf({})])).toEqual([])
  })

  it('look different for 36 runs', () => {
    const looks = Array.from({ length: LOOKS }, (_, i) => `${colourOf(i + 1)} ${dashesOf(i + 1)}`)
    expect([LOOKS, new Set(looks).size]).toEqual([36, 36])
  })
})

describe('the time that is left', () => {
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  // two seconds a step, and in the end three
  const seconds = [2, 4, 6, 8, 10, 12, 14, 16, 19, 22]

  it('is that of the remaining steps at the latest pace', () => {
    const run = runOf({ steps, at: { seconds }, totalSteps: 110, last: { seconds: 22, epoch: 0.123 } })
    expect(secondsLeft(run)).toBe(300)
    expect(courseOf(run)).toEqual(['Step 10 of 110', 'epoch 0.12', '22 s so far', 'about 5 min left'])
    run.summary.totalSteps = 9
    expect(secondsLeft(run)).toBe(0)
  })

  it('is not shown for a run that has ended, has one step, or lacks its length or its times', () => {
    const changes = [{ status: 'stopped' }, { totalSteps: null }, { at: {} }, { steps: [1], at: { seconds: [2] } }]
    for (const change of changes) {
      const run = runOf({ steps, at: { seconds }, totalSteps: 110, ...change })
      expect(secondsLeft(run), JSON.stringify(change)).toBeNull()
    }
  })
})

describe('numbers of the page', () => {
  it('are short and keep the digits that matter', () => {
    expect([1.23456, 0.0123456, 1e-5, 26719.4, 3e7, 0, null, undefined].map(formatNumber)).toEqual([
      '1.2346',
      '0.01235',
      '1.000e-5',
      '26719',
      '3.000e7',
      '0',
      '–',
      '–',
    ])
    expect([1023, 1024, 3.24e9, null].map(formatBytes)).toEqual(['1023 B', '1 KiB', '3.02 GiB', '–'])
    expect([1234567.8, null].map(formatCount)).toEqual(['1,234,568', '–'])
  })

  it('tell durations in two units', () => {
    const durations = [0.25, 9.96, 59, 61, 600, 3599.6, 3661, 86_400, 200_000, null]
    expect(durations.map(formatDuration)).toEqual([
      '0.3 s',
      '10 s',
      '59 s',
      '1 min 1 s',
      '10 min',
      '1 h',
      '1 h 1 min',
      '1 d',
      '2 d 7 h',
      '–',
    ])
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

describe('the command of a server for runs', () => {
  const trained = (id, model, serves = 'adapter') => ({
    summary: { id, name: id === '.' ? 'out' : id },
    details: { serves, facts: [{ group: 'options', name: 'model', value: model }] },
  })

  it('has the base of the first run, and the adapters of all on it', () => {
    const runs = [trained('none', 'base', null), trained('a', 'base'), trained('b', 'other'), trained('c d', 'base')]
    expect(serveCommand(runs, '/runs')).toEqual({
      command: "mora serve --model base --adapter a=/runs/a --adapter 'c-d=/runs/c d'",
      names: ['a', 'c-d'],
    })
    expect(serveCommand([trained('.', 'owner/base')], '/runs/out').command).toBe(
      'mora serve --model owner/base --adapter out=/runs/out',
    )
    expect(serveCommand([trained('full', 'base', 'model')], '/runs')).toEqual({
      command: 'mora serve --model /runs/full/model',
      names: [],
    })
  })

  it('runs nothing else, whatever a run says, and is not made where that is unsure', () => {
    const { command } = serveCommand([trained("$(x) 'y", '`z`; "$HOME"')], '/runs')
    expect(command).toBe("mora serve --model '`z`; \"$HOME\"' --adapter '-x-y=/runs/$(x) '\\''y'")
    const unsure = [
      [],
      [trained('a', 'base', null)],
      [trained('a', 'ba\nse')],
      [trained('a b', 'm'), trained('a?b', 'm')],
    ]
    for (const runs of unsure) expect(serveCommand(runs, '/runs')).toBeNull()
  })
})
