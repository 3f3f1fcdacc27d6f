/** Random loads without a model: memory is bounded, nobody starves, and whoever came first ends first where lengths are equal. */
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { PAGE } from '../../lib/engine/pages.js'
import { planStep } from '../../lib/engine/scheduler.js'

const PIECE = 512

class Row {
  read = 0
  held = 0
  length: number

  constructor(
    readonly prompt: number,
    readonly total: number,
  ) {
    this.length = prompt
  }

  get next(): number {
    return Math.min(this.length - this.read, PIECE - (this.read % PIECE))
  }
}

interface Load {
  rows: Row[]
  sequences: number
  pages: number
}

/** Runs a load to its end and returns the number of steps that it took and the order in which rows ended. */
function run({ rows, sequences, pages }: Load): { steps: number; ended: Row[] } {
  let running: Row[] = []
  let waiting = [...rows]
  const ended: Row[] = []
  let steps = 0
  for (; running.length + waiting.length > 0; steps++) {
    expect(steps, 'steps').toBeLessThan(20_000)
    const free = pages - running.reduce((sum, { held }) => sum + held, 0)
    const oldest = running[0]
    const plan = planStep(running, waiting, { sequences, promptTokens: PIECE, pages: free })
    for (const row of plan.paused) Object.assign(row, { read: 0, held: 0 })
    running = [...running.filter((row) => !plan.paused.includes(row)), ...plan.admitted]
    waiting = [...plan.paused.reverse(), ...waiting.filter((row) => !plan.admitted.includes(row))]
    expect(running.length).toBeLessThanOrEqual(sequences)
    expect(plan.reading.filter(({ next }) => next > 1).reduce((sum, { next }) => sum + next, 0)).toBeLessThanOrEqual(
      2 * PIECE - 1,
    )
    if (oldest) expect(plan.reading, 'the oldest is read in every step').toContain(oldest)
    for (const row of plan.reading) {
      row.read += row.next
      row.held = Math.ceil(row.read / PAGE)
      if (row.read === row.length) row.length++
    }
    expect(running.reduce((sum, { held }) => sum + held, 0)).toBeLessThanOrEqual(pages)
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

test('a long prompt is read in pieces between the tokens of others', () => {
  const writing = Array.from({ length: 3 }, () => new Row(8, 100))
  const long = new Row(4000, 4001)
  const { steps, ended } = run({ rows: [...writing, long], sequences: 8, pages: 200 })
  expect(steps).toBeLessThan(100)
  expect(ended[0]).toBe(long)
})

test('short prompts begin together', () => {
  const rows = Array.from({ length: 16 }, () => new Row(30, 31))
  expect(run({ rows, sequences: 32, pages: 100 }).steps).toBe(2)
})

test('where the memory is full, the youngest waits', () => {
  const rows = Array.from({ length: 4 }, () => new Row(60, 300))
  expect(run({ rows, sequences: 4, pages: 8 }).ended).toEqual(rows)
})
