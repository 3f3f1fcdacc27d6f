import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { TrainInput } from '../../../lib/options/index.js'
import type { Run } from '../../../lib/train/run.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { notices, type Outcome, rows, steps, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

function optionsOf(name: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const output = join(folder(), name)
  return { data, evalData: data, evalEvery: 4, output, batchSize: 4, maxSteps: 10, dropout: 0.2, ...changes }
}

const checkpoints = ({ output }: { output: string }) => readdirSync(join(output, 'checkpoints')).sort()
const adapterIn = (output: string) => readFileSync(join(output, 'adapter_model.safetensors')).toString('hex')
const savedSteps = ({ events }: Outcome) => events.flatMap((event) => (event.type === 'checkpoint' ? [event.step] : []))

/** A run whose steps take `minutes` each by the clock. `onStep` is called after each. */
function trainBySteps(minutes: number, options: TrainInput, onStep?: (step: number, run: Run) => void | Promise<void>) {
  let now = 0
  return trainTiny(options, { now: () => now }, async (event, run) => {
    if (event.type !== 'step') return
    now += minutes * 60_000
    await onStep?.(event.step, run)
  })
}

/** The folder of a run that was killed after a step, with the files saved by then. */
async function killedAfter(last: number, minutes: number, options: TrainInput): Promise<string> {
  const output = join(folder(), 'killed')
  await trainBySteps(minutes, { ...options, output: join(folder(), 'living') }, (step, run) => {
    if (step !== last) return
    cpSync(join(folder(), 'living'), output, { recursive: true, filter: (name) => !name.endsWith('.lock') })
    void run.stop()
  })
  return output
}

describe('checkpoints by time', () => {
  it('are written before a step that could exceed the interval, and only the newest is kept', async () => {
    const options = optionsOf('out', { saveMinutes: 3 })
    const seen: string[][] = []
    const run = await trainBySteps(1, options, (step) => {
      if (step > 3) seen.push(checkpoints(options))
    })
    expect(savedSteps(run)).toEqual([3, 6, 9, 10])
    expect(seen.map((names) => names.join())).toEqual([
      'step-000003',
      'step-000003',
      'step-000003',
      'step-000006',
      'step-000006',
      'step-000006',
      'step-000009',
    ])
    expect(checkpoints(options)).toEqual(['step-000010'])
  })

  it.each([
    ['are written every ten minutes where nothing else is said', {}, 4, [2, 4, 6, 8, 10]],
    ['are turned off by 0', { saveMinutes: 0 }, 60, [10]],
  ])('%s', async (_, changes, minutes, saved) => {
    expect(savedSteps(await trainBySteps(minutes, optionsOf('out', changes)))).toEqual(saved)
  })

  it('are kept beside those by steps, which reset the clock and are counted separately', async () => {
    const options = optionsOf('out', { saveMinutes: 3, saveEvery: 4, keepCheckpoints: 2 })
    let after7: string[] = []
    const run = await trainBySteps(1, options, (step) => {
      if (step === 8) after7 = checkpoints(options)
    })
    expect(savedSteps(run)).toEqual([3, 4, 7, 8, 10])
    expect(after7).toEqual(['step-000004', 'step-000007'])
    expect(checkpoints(options)).toEqual(['step-000008', 'step-000010'])
  })

  it('become permanent when the user saves the same step', async () => {
    const options = optionsOf('out', { saveMinutes: 3 })
    let now = 0
    await trainTiny(options, { now: () => now }, async (event, run) => {
      if (event.type === 'step') now += 60_000
      if (event.type === 'checkpoint' && event.step === 6) expect(await run.save()).toBe(event.path)
    })
    expect(checkpoints(options)).toEqual(['step-000006', 'step-000010'])
  })

  it.each([
    ['as it was', {}],
    ['with another interval', { saveMinutes: 1 }],
    ['without any', { saveMinutes: 0 }],
  ])('T21 let a killed run resume bit for bit, %s', async (_, changes) => {
    const whole = await trainTiny(optionsOf('whole', { saveMinutes: 0 }))
    const given = optionsOf('out', { saveMinutes: 3 })
    const options = { ...given, output: await killedAfter(5, 1, given) }
    expect(checkpoints(options)).toEqual(['step-000003'])
    const resumed = await trainTiny({ ...options, ...changes, resume: true })
    expect(steps(resumed)[0]!.step).toBe(4)
    expect(notices(resumed).filter((notice) => notice.includes('bit for bit'))).toEqual([])
    expect(adapterIn(options.output)).toBe(adapterIn(join(folder(), 'whole')))
    expect(resumed.result).toMatchObject({ loss: whole.result.loss, evalLoss: whole.result.evalLoss })
    expect(checkpoints(options)).toEqual(['step-000010'])
  })

  it('become permanent if a resumed run would have written them by steps', async () => {
    const given = optionsOf('out', { saveMinutes: 3 })
    const options = { ...given, output: await killedAfter(5, 1, given) }
    await trainTiny({ ...options, saveEvery: 3, resume: true })
    expect(checkpoints(options)).toEqual(['step-000003', 'step-000006', 'step-000009', 'step-000010'])
  })
})
