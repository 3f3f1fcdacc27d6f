/** Data that a checkpoint depends on reaches the disk before it: after a power cut no line is missing. */
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { keepCheckpoint } from '../../../lib/train/checkpoints/checkpoint.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { notices, rows, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

/** Bytes of each file that a power cut would leave, by its path. */
const durable = new Map<string, number>()

beforeEach(async () => {
  durable.clear()
  const handle = await open('/dev/null')
  const prototype = Object.getPrototypeOf(handle) as FileHandle
  await handle.close()
  const { sync } = prototype
  vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
    const path = readlinkSync(`/proc/self/fd/${this.fd}`)
    durable.set(path, statSync(path).size)
    return sync.call(this)
  })
})
afterEach(() => void vi.restoreAllMocks())

const filesIn = (path: string) => readdirSync(path).map((name) => join(path, name))

const optionsOf = () => ({
  data: writeRows(folder(), 'train.jsonl', rows(13)),
  output: join(folder(), 'out'),
  batchSize: 4,
  maxSteps: 6,
  saveEvery: 2,
})

describe('after a power cut', () => {
  it('metrics have a line for every step of the checkpoint', async () => {
    const options = { ...optionsOf(), tensorboard: true }
    const metrics = join(options.output, 'metrics.jsonl')
    const kept: number[] = []
    await trainTiny(options, {}, ({ type }) => {
      if (type !== 'checkpoint') return
      const [events] = filesIn(join(options.output, 'tensorboard'))
      expect(durable.get(events!)).toBe(statSync(events!).size)
      const lines = readFileSync(metrics).subarray(0, durable.get(metrics)).toString().split('\n')
      kept.push(lines.length - 1)
    })
    expect(kept).toEqual([2, 4, 6])
    // The name of the file, and that of the folder with the checkpoints, are in the folder of the run.
    expect(durable.has(options.output)).toBe(true)
  })

  it('a permanent checkpoint does not become one by time again', async () => {
    writeFileSync(join(folder(), 'by-time'), '')
    await keepCheckpoint(folder())
    expect(durable.has(folder())).toBe(true)
  })

  it('lines that are missing nevertheless are reported', async () => {
    const options = optionsOf()
    await trainTiny({ ...options, maxSteps: 4, scheduler: 'constant' })
    const metrics = join(options.output, 'metrics.jsonl')
    const lines = readFileSync(metrics, 'utf8').split('\n')
    writeFileSync(metrics, lines.filter((_, line) => line !== 1 && line !== 2).join('\n'))
    const resumed = await trainTiny({ ...options, scheduler: 'constant', resume: true })
    expect(notices(resumed)).toContain(`${metrics} has no line for 2 of the 4 steps so far.`)
  })
})
