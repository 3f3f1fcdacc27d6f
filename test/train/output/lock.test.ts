import { spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, it, vi } from 'vitest'
import { thisProcess } from '../../../lib/io/process-identity.js'
import { lockFolder } from '../../../lib/train/output/lock.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { lacksBuild, needing } from '../../needs.js'

/** Whether the file system has no hard links, as exFAT and some network mounts. */
const links = vi.hoisted(() => ({ areMissing: false }))
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  const linkSync: typeof fs.linkSync = (...paths) => {
    if (links.areMissing) throw Object.assign(new Error('operation not permitted'), { code: 'EPERM' })
    fs.linkSync(...paths)
  }
  return { ...fs, linkSync }
})

const folder = useTemporaryFolder()
const library = join(import.meta.dirname, '..', '..', '..', 'dist', 'train', 'output', 'lock.js')
const dead = JSON.stringify({ ...thisProcess(), started: 'another start' })

const rivals = 4
const rounds = process.env.MORA_TEST_LONG ? 25 : 2

/** Waits until all rivals are ready, and returns whether it gets the lock. */
const rival = `
  const { lockFolder } = await import(process.argv[1])
  while (Date.now() < Number(process.argv[3])) {}
  let answer = 'locked'
  try {
    lockFolder(process.argv[2])
    answer = 'mine'
  } catch (error) {
    if (error.code !== 'locked') answer = error.message
  }
  process.stdout.write(answer)
  setTimeout(() => {}, 1500) // a dead winner's lock could be taken
`

function contend(path: string, moment: number): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', rival, library, path, String(moment)])
  let answer = ''
  child.stdout.on('data', (text) => {
    answer += text
  })
  return new Promise((resolve) => child.on('close', () => resolve(answer)))
}

describe('the lock of a folder', () => {
  it('leaves nothing behind', () => {
    const lock = lockFolder(folder())
    expect(readdirSync(folder())).toEqual(['.lock'])
    lock.release()
    expect(readdirSync(folder())).toEqual([])
  })

  it('is taken without hard links, too', () => {
    links.areMissing = true
    try {
      const lock = lockFolder(folder())
      expect(readdirSync(folder())).toEqual(['.lock'])
      expect(() => lockFolder(folder())).toThrow(/is being written by process/)
      lock.release()
      expect(readdirSync(folder())).toEqual([])
    } finally {
      links.areMissing = false
    }
  })

  it('of a dead process is taken over, once', () => {
    writeFileSync(join(folder(), '.lock'), dead)
    const lock = lockFolder(folder())
    expect(() => lockFolder(folder())).toThrow(/is being written by process/)
    expect(readdirSync(folder())).toEqual(['.lock'])
    lock.release()
  })

  needing(lacksBuild).it('of a worker that was terminated is taken over, of one that lives it is not', async () => {
    const script = `
      const { parentPort, workerData } = require('node:worker_threads')
      import(workerData.library).then(({ lockFolder }) => parentPort.postMessage(lockFolder(workerData.folder) && 'mine'))
      setInterval(() => {}, 1000)
    `
    const worker = new Worker(script, { eval: true, workerData: { library, folder: folder() } })
    expect(await new Promise((resolve) => worker.once('message', resolve))).toBe('mine')
    expect(() => lockFolder(folder())).toThrow(/is being written by process/)
    await worker.terminate()
    lockFolder(folder()).release()
    expect(readdirSync(folder())).toEqual([])
  })

  it('is removed with the leftovers of dead processes', () => {
    writeFileSync(join(folder(), '.lock.0123abcd'), dead)
    writeFileSync(join(folder(), '.lock.4567abcd'), JSON.stringify(thisProcess()))
    lockFolder(folder()).release()
    expect(readdirSync(folder())).toEqual(['.lock.4567abcd'])
  })

  needing(lacksBuild).it(
    'of a dead process is taken over by one of several that find it at the same moment',
    async () => {
      for (let round = 0; round < rounds; round++) {
        writeFileSync(join(folder(), '.lock'), dead)
        const moment = Date.now() + 700
        const answers = await Promise.all(Array.from({ length: rivals }, () => contend(folder(), moment)))
        expect(answers.sort()).toEqual([...Array(rivals - 1).fill('locked'), 'mine'])
      }
    },
  )
})
