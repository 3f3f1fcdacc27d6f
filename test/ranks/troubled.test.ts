/** One rank has a problem: a full disk, or a tenth of the others' speed. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawnTests } from '../drawn.js'
import { hiddenIn, main, resultOf, trainInto } from '../faults/command.js'
import { FailingDisk, lacksDisk } from '../faults/disk.js'
import { needing } from '../needs.js'
import { byHand, collected, lacksGloo, runJob } from './launchers.js'

const gloo = byHand('gloo', '127.0.0.1')
const times = process.env.MORA_TEST_LONG ? 10 : 2
const argvFor = (output: string) => [
  main,
  ...trainInto(output, '--save-every', '2', '--dtype', 'float32', '--quiet', '--resume', '--rank-timeout', '10'),
]

needing(lacksDisk, lacksGloo).describe('a job', { timeout: 1_800_000 }, () => {
  let disk: FailingDisk
  beforeAll(async () => {
    disk = new FailingDisk()
    expect(await runJob(gloo, 2, argvFor(disk.at('whole')))).toMatchObject({ code: 0, stderr: '' })
  })
  afterAll(() => disk[Symbol.dispose]())

  const next = drawnTests('troubled jobs', 2, 1)

  next().test('whose rank 0 has a full disk ends with one sentence, and resumes once there is space', async () => {
    const output = disk.at('full')
    const random = randomStream(1, 'full disk of a rank')
    for (let i = 0; i < times; i++) {
      const at = i === 0 ? 20 : 1 + random.integer(60)
      const variables = Object.entries(disk.variables({ kind: 'ENOSPC', at }))
      const through = (rank: number) => (rank === 0 ? ['env', ...variables.map((pair) => pair.join('='))] : [])
      const { code, stderr } = await runJob(byHand('gloo', '127.0.0.1', through), 2, argvFor(output))
      if (code === 0 && i > 0) continue // so few changes were left
      expect(stderr).toMatch(/^mora: .*(the disk is full|ENOSPC).*\n$/)
      expect(stderr).toContain(output)
    }
    expect(await runJob(gloo, 2, argvFor(output))).toMatchObject({ code: 0, stderr: '' })
    expect(resultOf(output)).toEqual(resultOf(disk.at('whole')))
    expect(hiddenIn(output)).toEqual([])
  })

  next().test('with a rank that has a tenth of the time waits for it', async () => {
    const output = disk.at('slow')
    const children = await gloo.start(2, argvFor(output))
    let ticks = 0
    const slowing = setInterval(() => {
      // A tick of work and nine of rest, from when training begins until it has ended.
      const rests = existsSync(join(output, '.lock')) && ticks++ % 10 !== 0
      children[1]!.kill(rests ? 'SIGSTOP' : 'SIGCONT')
    }, 50)
    try {
      expect(await collected(children)).toMatchObject({ code: 0, stderr: '' })
    } finally {
      clearInterval(slowing)
      for (const child of children) child.kill('SIGKILL')
    }
    expect(resultOf(output)).toEqual(resultOf(disk.at('whole')))
  })
})
