import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { crc32c, maskedCrc32c } from '../../../lib/io/tfrecord.js'
import type { TrainInput } from '../../../lib/options/index.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { rows, trainTiny, writeRows } from '../tiny-run.js'
import { readEventFile } from './event-files.js'

const folder = useTemporaryFolder()

function optionsOf(changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const evaluation = { evalData: data, evalEvery: 2, saveEvery: 2, tensorboard: true }
  return { data, output: join(folder(), 'out'), batchSize: 4, maxSteps: 6, ...evaluation, ...changes }
}

const filesOf = (output: string) =>
  readdirSync(join(output, 'tensorboard'))
    .sort()
    .map((name) => readEventFile(join(output, 'tensorboard', name)))
const metricsOf = (output: string) =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>)

describe('CRC-32C', () => {
  it('has the values of RFC 3720, B.4, and the usual check value', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e)
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  })

  it('is masked as the format says: rotated right by 15 bits, plus a constant', () => {
    const crc = BigInt(crc32c(Buffer.from('123456789')))
    const rotated = ((crc >> 15n) | (crc << 17n)) & 0xffffffffn
    expect(BigInt(maskedCrc32c(Buffer.from('123456789')))).toBe((rotated + 0xa282ead8n) & 0xffffffffn)
  })
})

describe('events for TensorBoard', () => {
  it('are the numbers of metrics.jsonl, with their steps and times', async () => {
    const options = optionsOf()
    const before = Date.now() / 1000
    await trainTiny(options)
    const [[first, ...events], ...others] = filesOf(options.output) as [ReturnType<typeof readEventFile>]
    expect(others).toEqual([])
    expect(first).toMatchObject({ step: 0, fileVersion: 'brain.Event:2' })
    const names = ['loss', 'gradNorm', 'learningRate', 'tokensPerSecond', 'memoryBytes', 'evalLoss']
    const scalars = metricsOf(options.output).map((line) => ({
      step: line.step,
      scalars: Object.fromEntries(
        names.filter((name) => line[name] !== undefined).map((name) => [name, Math.fround(line[name]!)]),
      ),
    }))
    expect(events.map(({ step, scalars }) => ({ step, scalars }))).toEqual(scalars)
    for (const { wallTime } of events) {
      expect(wallTime).toBeGreaterThanOrEqual(before)
      expect(wallTime).toBeLessThanOrEqual(Date.now() / 1000)
    }
  })

  it('are written only on request', async () => {
    const options = optionsOf({ tensorboard: false })
    await trainTiny(options)
    expect(existsSync(join(options.output, 'tensorboard'))).toBe(false)
    await expectRejection(trainTiny({ ...optionsOf(), output: undefined }), 'unfit-options', /saveEvery needs output/)
  })

  it('continue in a later file, which withdraws lost steps of the one before', async () => {
    const options = optionsOf()
    await trainTiny(options, {}, (event, run) => {
      if (event.type === 'step' && event.step === 5) void run.stop()
    })
    await trainTiny({ ...options, resume: join(options.output, 'checkpoints', 'step-000002') })
    const [before, after] = filesOf(options.output)
    expect(before!.at(-1)!.step).toBe(5)
    expect(after![1]).toMatchObject({ step: 3, sessionStatus: 1 })
    expect(after!.slice(2).map(({ step }) => step)).toEqual([3, 4, 4, 5, 6, 6])
  })

  it('begin anew with a run that replaces another', async () => {
    const options = optionsOf({ maxSteps: 2 })
    await trainTiny(options)
    await trainTiny({ ...options, overwrite: true })
    expect(filesOf(options.output).map((events) => events.length)).toEqual([1 + 2 + 1])
  })
})
