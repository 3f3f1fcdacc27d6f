import { appendFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MetricTable, pointWidth } from '../../lib/dashboard/metric-table.js'
import { MetricsReader } from '../../lib/dashboard/metrics-reader.js'
import type { KnownMetrics, RunMetrics } from '../../lib/dashboard/payload.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { appendMetrics, evaluationLine, stepLine, stepLines, writeRun } from './run-folders.js'

const folder = useTemporaryFolder()

/** The state of a reader after this answer. */
function knownOf({ version, steps, evaluations, own }: RunMetrics): KnownMetrics {
  return { version, tables: [steps, evaluations, ...own] }
}

function readerOf(metrics: readonly object[]) {
  const run = writeRun(folder(), 'out', { metrics })
  const path = join(run, 'metrics.jsonl')
  return { run, path, reader: new MetricsReader(path) }
}

describe('metrics that are read as they grow', () => {
  it('are the columns of steps and of evaluations', async () => {
    const { reader } = readerOf([stepLine(1), stepLine(2), evaluationLine(2, 2.5), stepLine(3)])
    const { steps, evaluations, malformed } = await reader.since(null)
    expect(steps).toMatchObject({ rows: 3, width: 1, from: 0, steps: [1, 2, 3] })
    expect(steps.metrics.loss).toEqual({ mean: [5, 3, 2.333333] })
    expect(Object.keys(steps.metrics)).toEqual(['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes'])
    expect(evaluations).toMatchObject({ rows: 1, steps: [2], metrics: { evalLoss: { mean: [2.5] } } })
    expect(steps.last).toMatchObject({ step: 3, values: { loss: 2.333333, tokensPerSecond: 1003 } })
    expect(malformed).toBe(0)
  })

  it('are only the appended ones for a reader that has the rest', async () => {
    const { run, reader } = readerOf(stepLines(1, 3))
    const known = knownOf(await reader.since(null))
    expect((await reader.since(known)).steps).toMatchObject({ rows: 3, from: 3, steps: [], at: { epoch: [] } })
    appendMetrics(run, [stepLine(4), evaluationLine(4, 2)])
    const now = await reader.since(known)
    expect(now.version).toBe(known.version)
    expect(now.steps).toMatchObject({ rows: 4, from: 3, steps: [4] })
    expect(now.evaluations).toMatchObject({ rows: 1, from: 0, steps: [4] })
  })

  it('wait for the end of a line, in the middle of a character too', async () => {
    const { path, reader } = readerOf(stepLines(1, 1))
    const line = Buffer.from(`${JSON.stringify(stepLine(2, { note: 'größer' }))}\n`)
    const cut = line.indexOf(0xc3) + 1
    appendFileSync(path, line.subarray(0, cut))
    expect((await reader.since(null)).steps.rows).toBe(1)
    appendFileSync(path, line.subarray(cut))
    expect(await reader.since(null)).toMatchObject({ steps: { rows: 2 }, malformed: 0 })
  })

  it('begin anew when the file does: shorter, or as long with other content', async () => {
    const { path, run, reader } = readerOf(stepLines(1, 9))
    const known = knownOf(await reader.since(null))
    writeRun(folder(), 'out', { metrics: stepLines(1, 4) })
    const shorter = await reader.since(known)
    expect(shorter.version).not.toBe(known.version)
    expect(shorter.steps).toMatchObject({ rows: 4, from: 0 })
    writeFileSync(path, '')
    appendMetrics(
      run,
      stepLines(1, 20).map((line) => ({ ...line, loss: 7 })),
    )
    const other = await reader.since(knownOf(shorter))
    expect(other.steps.metrics.loss!.mean).toEqual(Array(20).fill(7))
    rmSync(path)
    expect((await reader.since(knownOf(other))).steps).toMatchObject({ rows: 0, from: 0 })
  })

  it('drop lines of steps that the run then took again', async () => {
    const { run, reader } = readerOf(stepLines(1, 5))
    const known = knownOf(await reader.since(null))
    appendMetrics(run, [stepLine(4, { loss: 9 })])
    const now = await reader.since(known)
    expect(now.version).not.toBe(known.version)
    expect(now.steps.steps).toEqual([1, 2, 3, 4])
    expect(now.steps.metrics.loss!.mean.at(-1)).toBe(9)
  })

  it('skip lines that are not metrics, and count them', async () => {
    const { path, reader } = readerOf([stepLine(1, { loss: null })])
    for (const line of [
      '',
      'no json',
      '[1]',
      'null',
      '{"loss": 1}',
      '{"step": "2"}',
      '{"step": 1e999, "loss": 1}',
      `"${'x'.repeat(2 ** 21)}"`,
    ]) {
      appendFileSync(path, `${line}\n`)
    }
    appendFileSync(path, `${JSON.stringify(stepLine(2, { loss: '5', gradNorm: null }))}\n`)
    const { steps, malformed } = await reader.since(null)
    expect(steps.metrics.loss!.mean).toEqual([null, null])
    expect(steps.last).toMatchObject({ step: 2, values: { loss: null, gradNorm: null } })
    expect(malformed).toBeGreaterThanOrEqual(6)
  })

  it('say how far the run was: epochs, tokens and seconds since its start', async () => {
    // 120 tokens a step, at 60 tokens a second
    const line = (step: number, changes: object = {}) => stepLine(step, { tokensPerSecond: 60, ...changes })
    const { run, reader } = readerOf([line(1), line(2), evaluationLine(2, 3), line(3)])
    expect((await reader.since(null)).steps.at).toEqual({
      epoch: [0.1, 0.2, 0.3],
      tokens: [120, 240, 360],
      seconds: [2, 4, 6],
    })
    // A run that goes on from before step 3 goes on from its tokens, too.
    appendMetrics(run, [line(3), line(4, { tokens: undefined })])
    const { steps } = await reader.since(null)
    expect(steps.at).toMatchObject({ tokens: [120, 240, 360, null], seconds: [2, 4, 6, null] })
    expect(steps.last!.values).toMatchObject({ epoch: 0.4, tokens: null, seconds: null })
  })

  it('count the time between lines where they tell it, but not while a run was interrupted', async () => {
    const at = (step: number, time: unknown) => stepLine(step, { time, tokensPerSecond: 60 })
    const { reader } = readerOf([
      at(1, '2026-01-01T10:00:00.000Z'),
      at(2, '2026-01-01T10:00:05.000Z'),
      // as milliseconds too; less than the step itself took is no measure of it
      at(3, Date.UTC(2026, 0, 1, 10, 0, 6)),
      at(4, '2026-01-03T00:00:00.000Z'),
      at(5, 'soon'),
      at(6, '2026-01-03T00:00:09.000Z'),
    ])
    expect((await reader.since(null)).steps.at.seconds).toEqual([2, 7, 9, 11, 13, 15])
  })

  it('have every further number as a metric of the user, in lines of their own or not', async () => {
    const time = '2026-01-01T10:00:00.000Z'
    const { run, reader } = readerOf([
      { step: 0, time, reward: 1, __proto__: 3, note: 'text', list: [1] },
      stepLine(1, { reward: 2 }),
      { step: 1, epoch: 0.1, 'eval/accuracy': 0.5, nothing: null },
      { ...evaluationLine(2, 3), 'eval/accuracy': 0.75 },
      stepLine(2, { reward: null }),
    ])
    const first = await reader.since(null)
    expect(first.own.map(({ name, steps, metrics }) => [name, steps, metrics.value!.mean])).toEqual([
      ['reward', [0, 1, 2], [1, 2, null]],
      ['eval/accuracy', [1, 2], [0.5, 0.75]],
    ])
    expect(first).toMatchObject({
      steps: { steps: [1, 2] },
      evaluations: { steps: [2] },
      hasMoreOwn: false,
      malformed: 0,
    })
    appendMetrics(run, [{ step: 3, reward: 4 }])
    const known = knownOf(first)
    expect((await reader.since(known)).own[0]).toMatchObject({ from: 3, steps: [3], metrics: { value: { mean: [4] } } })
    // A reader that does not know of a metric gets everything.
    appendMetrics(run, [{ step: 3, other: 1 }])
    expect((await reader.since(known)).own.map(({ from, steps }) => [from, steps.length])).toEqual([
      [0, 4],
      [0, 2],
      [0, 1],
    ])
    // The last of a step counts.
    appendMetrics(run, [{ step: 3, other: 2 }])
    expect((await reader.since(null)).own[2]).toMatchObject({ steps: [3], metrics: { value: { mean: [2] } } })
  })

  it('have a hundred names at most, and say that there are more', async () => {
    const { reader } = readerOf([
      Object.fromEntries([['step', 1], ...Array.from({ length: 101 }, (_, i) => [`m${i}`, i])]),
    ])
    const { own, hasMoreOwn } = await reader.since(null)
    expect([own.length, own.at(-1)!.name, hasMoreOwn]).toEqual([100, 'm99', true])
  })

  it('are read once although many ask at the same time', async () => {
    const { reader } = readerOf(stepLines(1, 50))
    const answers = await Promise.all(Array.from({ length: 10 }, () => reader.since(null)))
    expect(answers.map(({ steps }) => steps.rows)).toEqual(Array(10).fill(50))
    expect(new Set(answers.map(({ version }) => version)).size).toBe(1)
  })
})

describe('a long course in few points', () => {
  it('has at most 2,000, and one for each row while that is enough', () => {
    for (const [rows, width] of [
      [1, 1],
      [2000, 1],
      [2001, 2],
      [4000, 2],
      [4001, 4],
      [100_000, 64],
    ] as const) {
      expect(pointWidth(rows), String(rows)).toBe(width)
      expect(rows / width).toBeLessThanOrEqual(2000)
    }
  })

  it("keeps the mean, the lowest and the highest of a point's rows", () => {
    const table = new MetricTable(['loss'])
    for (let step = 1; step <= 100_000; step++) table.add(step, { loss: step === 50_000 ? 1e6 : step % 2 })
    const { steps, metrics, width, last } = table.since(null)
    const { mean, low, high } = metrics.loss!
    expect([steps.length, width, steps[0], steps.at(-1)]).toEqual([1563, 64, 64, 100_000])
    expect([mean[0], low![0], high![0]]).toEqual([0.5, 0, 1])
    expect(high!.filter((value) => value === 1e6)).toHaveLength(1)
    expect(last).toEqual({ step: 100_000, values: { loss: 0 } })
  })

  it('leaves out values that are not finite, and is null where there are no others', () => {
    const table = new MetricTable(['loss'])
    for (let step = 1; step <= 4002; step++)
      table.add(step, { loss: step > 4000 ? Number.NaN : step % 4 === 0 ? null : 2 })
    const { mean, low } = table.since(null).metrics.loss!
    expect([mean[0], low![0], mean.at(-1), low!.at(-1)]).toEqual([2, 2, null, null])
  })

  it.each([1, 7, 63, 64, 100])('updated %i rows at a time equals the whole', (stride) => {
    const growing = new MetricTable(['loss'])
    let known: { rows: number; width: number } | null = null
    let points: { step: number; mean: number | null }[] = []
    for (let step = 1; step <= 9_000; step++) {
      growing.add(step, { loss: Math.sin(step) })
      if (step % stride !== 0 && step < 9_000) continue
      const part = growing.since(known)
      points.length = part.from
      points = [...points, ...part.steps.map((last, i) => ({ step: last, mean: part.metrics.loss!.mean[i]! }))]
      known = part
    }
    const whole = growing.since(null)
    expect(points).toEqual(whole.steps.map((step, i) => ({ step, mean: whole.metrics.loss!.mean[i] })))
  })
})
