/** The best checkpoint and the patience of a run, also of one that is interrupted and resumed. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { TrainInput } from '../../../lib/options/index.js'
import type { EvaluationEvent } from '../../../lib/train/events.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { notices, type Outcome, rows, trainFake, writeRows } from '../fake-run.js'

const folder = useTemporaryFolder()

/** A loss that improves for four steps and then gets worse. */
const worsening = {
  disturb: (gradient: Float32Array, step: number) => {
    if (step > 4) for (const [i, value] of gradient.entries()) gradient[i] = -value
  },
}

function optionsOf(name: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const evaluation = { evalData: data, evalEvery: 1, keepBest: true, keepCheckpoints: 1, saveEvery: 1, patience: 3 }
  const course = { batchSize: 4, maxSteps: 12, scheduler: 'constant' as const, learningRate: 0.5 }
  return { data, output: join(folder(), name), ...evaluation, ...course, ...changes }
}

const checkpoints = (output: string) => readdirSync(join(output, 'checkpoints')).sort()
const evaluations = ({ events }: Outcome) =>
  events.filter((event): event is EvaluationEvent => event.type === 'evaluation')

describe('a run with patience that keeps the best', () => {
  it('ends after that many evaluations without improvement, with the best and the last checkpoint', async () => {
    const options = optionsOf('out')
    const run = await trainFake(options, worsening)
    expect(evaluations(run).map(({ best }) => best)).toEqual([true, true, true, true, false, false, false])
    expect(run.result).toMatchObject({ steps: 7, stopped: false })
    expect(notices(run).at(-1)).toMatch(/^Training ends at step 7: 3 evaluations were not better than .* at step 4\.$/)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000007'])
    const lowest = Math.min(...evaluations(run).map(({ evalLoss }) => evalLoss))
    expect(readFileSync(join(options.output, 'README.md'), 'utf8')).toContain(
      `| Lowest of them | ${lowest.toPrecision(5)}, at step 4 |`,
    )
  })

  it('keeps only those when a better one comes', async () => {
    const options = optionsOf('out', { maxSteps: 3 })
    await trainFake(options, worsening)
    expect(checkpoints(options.output)).toEqual(['step-000003'])
  })

  it('keeps a checkpoint of the best step if none is due', async () => {
    const options = optionsOf('out', { saveEvery: undefined })
    await trainFake(options, worsening)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000007'])
  })

  it.each([1, 3, 4, 5, 6])('T21 resumes from step %i as if never interrupted', async (step) => {
    const whole = await trainFake(optionsOf('whole'), worsening)
    const options = optionsOf('halves')
    await trainFake(options, worsening, (event, run) => {
      if (event.type === 'step' && event.step === step) void run.stop()
    })
    const resumed = await trainFake({ ...options, resume: true }, worsening)
    expect(resumed.result).toMatchObject({ steps: 7, evalLoss: whole.result.evalLoss })
    expect(checkpoints(options.output)).toEqual(checkpoints(optionsOf('whole').output))
    expect(resumed.model.parameters.map(({ values }) => values)).toEqual(
      whole.model.parameters.map(({ values }) => values),
    )
  })

  it('stays ended when it is resumed with the same patience, and goes on with more', async () => {
    const options = optionsOf('out')
    await trainFake(options, worsening)
    expect((await trainFake({ ...options, resume: true }, worsening)).result.steps).toBe(7)
    const longer = await trainFake({ ...options, resume: true, patience: 5 }, worsening)
    expect(longer.result.steps).toBe(9)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000009'])
  })
})
