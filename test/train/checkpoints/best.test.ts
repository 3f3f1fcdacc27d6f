/** The best checkpoint and the patience of a run, also of one that is interrupted and resumed. */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { TrainInput } from '../../../lib/options/index.js'
import type { EvaluationEvent } from '../../../lib/train/events.js'
import { readTensors } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { notices, type Outcome, rows, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

/** A loss that improves for four steps and then gets worse. */
const worsening = {
  disturb: (gradient: Float32Array, step: number) => {
    if (step > 4) for (const [i, value] of gradient.entries()) gradient[i] = -100 * value
  },
}

function optionsOf(name: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const evaluation = { evalData: data, evalEvery: 1, keepBest: true, keepCheckpoints: 1, saveEvery: 1, patience: 3 }
  const course = { batchSize: 4, maxSteps: 12, scheduler: 'constant' as const, learningRate: 0.5, maxGradNorm: 0 }
  return { data, output: join(folder(), name), ...evaluation, ...course, ...changes }
}

const valuesOf = ({ model }: Outcome) => {
  const values = model.values()
  return new Map(model.parameters.map(({ name }, i) => [name, values[i]]))
}
const weightsIn = (folder: string) =>
  new Map([...readTensors(join(folder, 'weights.safetensors'))].map(([name, { values }]) => [name, values]))
const checkpoints = (output: string) => readdirSync(join(output, 'checkpoints')).sort()
const evaluations = ({ events }: Outcome) =>
  events.filter((event): event is EvaluationEvent => event.type === 'evaluation')

describe('a run with patience that keeps the best', () => {
  it('ends after that many evaluations without improvement, with the best and the last checkpoint', async () => {
    const options = optionsOf('out')
    const run = await trainTiny(options, worsening)
    expect(evaluations(run).map(({ best }) => best)).toEqual([true, true, true, true, false, false, false])
    expect(run.result).toMatchObject({ steps: 7, stopped: false })
    expect(notices(run).at(-2)).toMatch(/^Training ends at step 7: 3 evaluations were not better than .* at step 4\.$/)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000007'])
    const lowest = Math.min(...evaluations(run).map(({ evalLoss }) => evalLoss))
    expect(readFileSync(join(options.output, 'README.md'), 'utf8')).toContain(
      `| Lowest of them | ${lowest.toPrecision(5)}, at step 4 |\n| Values | of step 4 |`,
    )
  })

  it('T33 ends with the values of the best, in memory and on the disk, and says so', async () => {
    const options = optionsOf('out')
    const run = await trainTiny(options, worsening)
    const best = join(options.output, 'checkpoints', 'step-000004')
    const [wanted, last] = [best, join(options.output, 'checkpoints', 'step-000007')].map(weightsIn)
    expect(last).not.toEqual(wanted)
    expect(valuesOf(run)).toEqual(wanted)
    expect(readFileSync(join(options.output, 'adapter_model.safetensors'))).toEqual(
      readFileSync(join(best, 'adapter_model.safetensors')),
    )
    const { evalLoss } = evaluations(run)[3]!
    expect(run.result.best).toEqual({ step: 4, evalLoss, path: best, isResult: true })
    expect(run.events.at(-1)).toMatchObject({ type: 'end', best: run.result.best })
    expect(notices(run).at(-1)).toMatch(
      /^The run ends with the values of step 4, whose evaluation loss .* is the lowest;/,
    )
    const { result } = parse(readFileSync(join(options.output, 'run.yaml'), 'utf8')) as { result: object }
    expect(result).toMatchObject({ steps: 7, bestStep: 4, bestEvalLoss: evalLoss, resultStep: 4 })
  })

  it('does so with patience alone, keeping no other of the best, and where nothing is written', async () => {
    const options = optionsOf('out', { keepBest: false, saveEvery: undefined, keepCheckpoints: undefined })
    const run = await trainTiny(options, worsening)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000007'])
    const { output: _, saveEvery: __, ...others } = options
    const unwritten = await trainTiny(others, worsening)
    expect(valuesOf(unwritten)).toEqual(weightsIn(join(options.output, 'checkpoints', 'step-000004')))
    expect(valuesOf(run)).toEqual(valuesOf(unwritten))
    expect(unwritten.result.best).toMatchObject({ step: 4, path: null, isResult: true })
  })

  it('ends with the last where the best is gone or was merged, and says why', async () => {
    const options = optionsOf('out')
    const gone = await trainTiny(options, worsening, (event) => {
      if (event.type === 'step' && event.step === 7)
        rmSync(join(options.output, 'checkpoints', 'step-000004'), { recursive: true })
    })
    expect(valuesOf(gone)).toEqual(weightsIn(join(options.output, 'checkpoints', 'step-000007')))
    expect(gone.result.best).toMatchObject({ step: 4, path: null, isResult: false })
    expect(notices(gone).at(-1)).toMatch(
      /^The run ends with the values of its last step, 7, and not of step 4.*: their checkpoint is gone/,
    )
    const merging = await trainTiny(optionsOf('merging', { mergeEvery: 5, patience: 4 }), worsening)
    expect(merging.result.best).toMatchObject({ isResult: false })
    expect(notices(merging).at(-1)).toMatch(/: the adapter was merged into the weights after it\. To have them, resume/)
  })

  it('finds the best in the run that it was resumed from', async () => {
    const whole = await trainTiny(optionsOf('whole'), worsening)
    await trainTiny(optionsOf('first'), worsening, (event, run) => {
      if (event.type === 'step' && event.step === 5) void run.stop()
    })
    const resumed = await trainTiny(optionsOf('second', { resume: join(folder(), 'first') }), worsening)
    expect(valuesOf(resumed)).toEqual(valuesOf(whole))
  })

  it('keeps only those when a better one comes', async () => {
    const options = optionsOf('out', { maxSteps: 3 })
    await trainTiny(options, worsening)
    expect(checkpoints(options.output)).toEqual(['step-000003'])
  })

  it('keeps a checkpoint of the best step if none is due', async () => {
    const options = optionsOf('out', { saveEvery: undefined })
    await trainTiny(options, worsening)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000007'])
  })

  it.each([1, 3, 4, 5, 6])('T21 resumes from step %i as if never interrupted', async (step) => {
    const whole = await trainTiny(optionsOf('whole'), worsening)
    const options = optionsOf('halves')
    await trainTiny(options, worsening, (event, run) => {
      if (event.type === 'step' && event.step === step) void run.stop()
    })
    const resumed = await trainTiny({ ...options, resume: true }, worsening)
    expect(resumed.result).toMatchObject({ steps: 7, evalLoss: whole.result.evalLoss })
    expect(checkpoints(options.output)).toEqual(checkpoints(optionsOf('whole').output))
    expect(resumed.model.values()).toEqual(whole.model.values())
  })

  it('stays ended when it is resumed with the same patience, and goes on with more', async () => {
    const options = optionsOf('out')
    await trainTiny(options, worsening)
    expect((await trainTiny({ ...options, resume: true }, worsening)).result.steps).toBe(7)
    const longer = await trainTiny({ ...options, resume: true, patience: 5 }, worsening)
    expect(longer.result.steps).toBe(9)
    expect(checkpoints(options.output)).toEqual(['step-000004', 'step-000009'])
  })
})
