/** Random loads without a model: memory is bounded, nobody starves, and whoever came first ends first where lengths are equal. */
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { PAGE } from '../../lib/engine/pages.js'
import { planStep, shortPrecede } from '../../lib/engine/scheduler.js'

const CHUNK = 512

class Row {
  computed = 0
  allocated = 0
  length: number

  constructor(
    readonly prompt: number,
    readonly total: number,
  ) {
    this.length = prompt
  }

  get chunk(): number {
    return Math.min(this.length - this.computed, CHUNK - (this.computed % CHUNK))
  }

  get cost(): number {
    return this.chunk
  }
}

interface Load {
  rows: Row[]
  sequences: number
  longSequences?: number
  pages: number
}

/** Runs a load to its end and returns the number of steps that it took and the order in which rows ended. */
function run({ rows, sequences, longSequences = sequences, pages }: Load): { steps: number; ended: Row[] } {
  let running: Row[] = []
  let waiting = [...rows]
  const ended: Row[] = []
  let steps = 0
  let idle = 0
  let shortFirst = true
  for (; running.length + waiting.length > 0; steps++) {
    expect(steps, 'steps').toBeLessThan(20_000)
    const free = pages - running.reduce((sum, { allocated }) => sum + allocated, 0)
    const oldest = running[0]
    const limits: Parameters<typeof planStep>[2] = {
      sequences,
      longSequences,
      prefillTokens: CHUNK,
      pages: free,
      shortFirst,
    }
    const plan = planStep(running, waiting, limits)
    shortFirst = shortPrecede([...running, ...waiting], plan.scheduled, limits)
    for (const row of plan.preempted) Object.assign(row, { computed: 0, allocated: 0 })
    running = [...running.filter((row) => !plan.preempted.includes(row)), ...plan.admitted]
    waiting = [...plan.preempted.reverse(), ...waiting.filter((row) => !plan.admitted.includes(row))]
    expect(running.length).toBeLessThanOrEqual(sequences)
    expect(
      plan.scheduled.filter(({ chunk }) => chunk > 1).reduce((sum, { chunk }) => sum + chunk, 0),
    ).toBeLessThanOrEqual(2 * CHUNK - 1)
    idle = !oldest || plan.scheduled.includes(oldest) ? 0 : idle + 1
    expect(idle, 'the oldest is scheduled in every other step').toBeLessThan(2)
    for (const row of plan.scheduled) {
      row.computed += row.chunk
      row.allocated = Math.ceil(row.computed / PAGE)
      if (row.computed === row.length) row.length++
    }
    expect(running.reduce((sum, { allocated }) => sum + allocated, 0)).toBeLessThanOrEqual(pages)
    for (const row of running.filter(({ length, total }) => length > total)) ended.push(row)
    running = running.filter(({ length, total }) => length <= total)
  }
  return { steps, ended }
}

describe('random loads', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => seed))('seed %i', (seed) => {
    const random = randomStream(seed, 'scheduler')
    const pages = 4 + random.integer(40)
    const most = pages * PAGE
    const rows = Array.from({ length: 1 + random.integer(30) }, () => {
      const prompt = 1 + random.integer(most - 1)
      return new Row(prompt, Math.min(most, prompt + random.integer(200)))
    })
    const { ended } = run({ rows, sequences: 1 + random.integer(12), pages })
    expect(new Set(ended).size).toBe(rows.length)
  })
})

test('a long prompt is computed in chunks between the tokens of others', () => {
  const decoding = Array.from({ length: 3 }, () => new Row(8, 100))
  const long = new Row(4000, 4001)
  const { steps, ended } = run({ rows: [...decoding, long], sequences: 8, pages: 200 })
  expect(steps).toBeLessThan(100)
  expect(ended[0]).toBe(long)
})

test('a short prompt does not wait for long ones that came before', () => {
  const long = Array.from({ length: 60 }, () => new Row(10_000, 10_001))
  const short = new Row(30, 40)
  const { ended } = run({ rows: [...long, short], sequences: 16, longSequences: 12, pages: 4000 })
  expect(ended[0]).toBe(short)
})

test('a short prompt is in the step after the one during which it came, and long ones are in every other step', () => {
  const long = new Row(10_000, 10_001)
  const limits = { sequences: 16, longSequences: 12, prefillTokens: CHUNK, pages: 4000 }
  let shortFirst = true
  const plan = (waiting: readonly Row[]) => {
    const { scheduled } = planStep([long], waiting, { ...limits, shortFirst })
    shortFirst = shortPrecede([long, ...waiting], scheduled, { ...limits, shortFirst })
    return scheduled
  }
  for (const alone of [1, 2, 3]) {
    for (let step = 0; step < alone; step++) expect(plan([])).toEqual([long])
    const [first, second] = [new Row(30, 40), new Row(30, 40)]
    expect(plan([first])).toEqual([first])
    expect(plan([second])).toEqual([long])
    expect(plan([second])).toEqual([second])
    expect(plan([])).toEqual([long])
  }
})

test('long sequences alone take all places, unless some are kept for short ones', () => {
  const rows = () => Array.from({ length: 8 }, () => new Row(513, 2000))
  const { steps } = run({ rows: rows(), sequences: 8, pages: 4000 })
  expect(run({ rows: rows(), sequences: 8, longSequences: 6, pages: 4000 }).steps).toBeGreaterThan(1.5 * steps)
})

test('short prompts begin together', () => {
  const rows = Array.from({ length: 16 }, () => new Row(30, 31))
  expect(run({ rows, sequences: 32, pages: 100 }).steps).toBe(2)
})

test('where the memory is full, the youngest waits', () => {
  const rows = Array.from({ length: 4 }, () => new Row(60, 300))
  expect(run({ rows, sequences: 4, pages: 8 }).ended).toEqual(rows)
})
