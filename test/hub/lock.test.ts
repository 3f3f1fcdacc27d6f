import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { whileLocked } from '../../lib/hub/lock.js'
import { thisProcess } from '../../lib/io/process-identity.js'
import { useTemporaryFolder } from '../io/temporary.js'

const folder = useTemporaryFolder()
const lock = () => join(folder(), 'blob.lock')
const growing = () => join(folder(), 'blob.incomplete')

/** Takes the lock and releases it; returns how often it waited, and calls `meanwhile` at each wait. */
async function waits(meanwhile = () => {}): Promise<number> {
  let waits = 0
  const onWait = () => {
    waits++
    meanwhile()
  }
  await whileLocked(lock(), { growing: growing(), onWait }, async () => {
    expect(JSON.parse(readFileSync(lock(), 'utf8'))).toEqual(thisProcess())
  })
  expect(existsSync(lock())).toBe(false)
  return waits
}

/** A lock, and a file that grows, whose last signs of life are that many seconds old. */
function heldBy(holder: string, age: number, growth = age): void {
  const now = Date.now() / 1000
  writeFileSync(lock(), holder)
  utimesSync(lock(), now - age, now - age)
  writeFileSync(growing(), '')
  utimesSync(growing(), now - growth, now - growth)
}

const elsewhere = JSON.stringify({ ...thisProcess(), host: 'another machine' })

describe('the lock of a download', () => {
  it('is released, also after a failure', async () => {
    const failing = whileLocked(lock(), { growing: growing(), onWait: () => {} }, () =>
      Promise.reject(new Error('cut')),
    )
    await expect(failing).rejects.toThrow('cut')
    expect(await waits()).toBe(0)
  })

  it('admits one at a time, in the same process too', async () => {
    let inside = 0
    let waiting = 0
    const onWait = () => waiting++
    const work = async () => {
      expect(++inside).toBe(1)
      while (waiting < 2) await new Promise((resolve) => setTimeout(resolve, 5))
      inside--
    }
    await Promise.all([1, 2, 3].map(() => whileLocked(lock(), { growing: growing(), onWait }, work)))
    expect(waiting).toBe(2)
  })

  it('of a dead process is taken over at once', async () => {
    heldBy(JSON.stringify({ ...thisProcess(), started: 'another start' }), 0)
    expect(await waits()).toBe(0)
  })

  it.each([
    ['of another machine', elsewhere],
    ['that is just being written', '{"pid":'],
    ['that names no process', '{"pid": "1", "host": 2}'],
  ])('%s is held while there are signs of life, and then dead', async (_, holder) => {
    heldBy(holder, 60, 200)
    expect(await waits(() => rmSync(lock()))).toBe(1)
    heldBy(holder, 200, 60)
    expect(await waits(() => rmSync(lock()))).toBe(1)
    heldBy(holder, 130)
    expect(await waits()).toBe(0)
  })

  it('is not waited for if a file is in the place of its folder', async () => {
    writeFileSync(growing(), '')
    const inFile = whileLocked(join(growing(), 'lock'), { growing: growing(), onWait: () => {} }, async () => {})
    await expect(inFile).rejects.toThrow(/blob\.incomplete/)
  })
})
