/** What happens around a run: clocks jump, folders vanish. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { TrainInput } from '../../lib/options/index.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { notices, rows, steps, trainTiny, writeRows } from '../train/tiny-run.js'

const folder = useTemporaryFolder()
afterEach(() => void vi.useRealTimers())

const optionsOf = (name: string, more: Partial<TrainInput> = {}): TrainInput & { output: string } => ({
  data: writeRows(folder(), 'train.jsonl', rows(13)),
  output: join(folder(), name),
  batchSize: 4,
  maxSteps: 8,
  ...more,
})

const adapterIn = (output: string) => readFileSync(join(output, 'adapter_model.safetensors')).toString('base64')

describe('a clock that jumps', () => {
  it('changes nothing that is computed, measured or resumed', async () => {
    const quiet = await trainTiny(optionsOf('quiet', { saveEvery: 2 }))
    vi.useFakeTimers({ toFake: ['Date'] })
    const moments = ['1970-01-01', '2100-01-01', '1999-12-31T23:59:59Z', '2038-01-19T03:14:08Z', '2026-03-29T01:00:00Z']
    let jumps = 0
    const jump = () => void vi.setSystemTime(new Date(moments[jumps++ % moments.length]!))
    const options = optionsOf('jumping', { saveEvery: 2 })
    await trainTiny(options, {}, (event, run) => {
      jump()
      if (event.type === 'step' && event.step === 5) void run.stop()
    })
    const resumed = await trainTiny({ ...options, resume: true }, {}, jump)
    expect(notices(resumed).filter((notice) => notice.includes('skipped'))).toEqual([])
    expect(resumed.result).toMatchObject({ steps: 8, loss: quiet.result.loss })
    expect(adapterIn(options.output)).toBe(adapterIn(join(folder(), 'quiet')))
    const metrics = readFileSync(join(options.output, 'metrics.jsonl'), 'utf8').trim().split('\n')
    const speeds = metrics.map((line) => (JSON.parse(line) as { tokensPerSecond: number }).tokensPerSecond)
    expect(speeds.every((speed) => speed > 0 && Number.isFinite(speed))).toBe(true)
  })
})

describe('an output folder that vanishes', () => {
  it('ends the run with a sentence that names it', async () => {
    const options = optionsOf('gone', { saveEvery: 4 })
    const lost = trainTiny(options, {}, (event) => {
      if (event.type === 'step' && event.step === 3) rmSync(options.output, { recursive: true })
    })
    await expectRejection(lost, 'write-failed', new RegExp(`^${options.output}/metrics\\.jsonl could not be written`))
  })

  it('is reported when a file takes its place', async () => {
    const options = optionsOf('file', { saveEvery: 4 })
    const lost = trainTiny(options, {}, (event) => {
      if (event.type !== 'step' || event.step !== 3) return
      rmSync(options.output, { recursive: true })
      writeFileSync(options.output, 'something else')
    })
    await expectRejection(lost, 'write-failed', new RegExp(`^${options.output}`))
    expect(readFileSync(options.output, 'utf8')).toBe('something else')
  })

  it('and its checkpoints: the next one is written all the same', async () => {
    const options = optionsOf('checkpoints gone', { saveEvery: 2 })
    const run = await trainTiny(options, {}, (event) => {
      if (event.type === 'step' && event.step === 5) rmSync(join(options.output, 'checkpoints'), { recursive: true })
    })
    expect(steps(run)).toHaveLength(8)
    const whole = await trainTiny(optionsOf('whole'))
    expect(run.result.loss).toBe(whole.result.loss)
  })
})
