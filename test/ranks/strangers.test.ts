/** Strangers connect to rank 0 of a job: it reads little of their data, and waits for ranks that know the secret. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { connect, Server } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { connectRanks } from '../../lib/ranks/connect-ranks.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLinux, needing } from '../needs.js'
import { byHand, collected, lacksGloo } from './launchers.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'job.mjs')

test('rank 0 does not listen without a secret', async () => {
  const listen = vi.spyOn(Server.prototype, 'listen')
  for (const [name, value] of Object.entries({
    RANK: '0',
    WORLD_SIZE: '2',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: '1',
  }))
    vi.stubEnv(name, value)
  for (const name of ['MORA_JOB_SECRET', 'MORA_JOB_SECRET_FILE']) vi.stubEnv(name, undefined)
  await expect(connectRanks()).rejects.toThrow('Ranks that connect over TCP need a secret: set MORA_JOB_SECRET to')
  expect(listen).not.toHaveBeenCalled()
  vi.unstubAllEnvs()
  listen.mockRestore()
})

const told = (pid: number, file: string, name: string) =>
  new RegExp(`(?:^|\\0|\\n)${name}[=:]\\s*([^\\0\\n]+)`).exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))![1]!

/** Addresses on which a process listens: IPv4 with port, and IPv6 in the kernel's hexadecimal. */
function listeningOf(pid: number): string[] {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
  return ['tcp', 'tcp6'].flatMap((kind) => {
    const lines = readFileSync(`/proc/${pid}/net/${kind}`, 'utf8').trim().split('\n').slice(1)
    return lines.flatMap((line) => {
      const words = line.trim().split(/\s+/)
      const [address, port] = words[1]!.split(':') as [string, string]
      if (words[3] !== LISTENS || !links.includes(`socket:[${words[9]}]`)) return []
      const bytes = kind === 'tcp' ? [...Buffer.from(address, 'hex').reverse()].join('.') : address
      return [`${bytes}:${Number.parseInt(port, 16)}`]
    })
  })
}
const LISTENS = '0A'

/** Writes a number of megabytes and reads nothing, until the connection is closed. */
async function garbage(port: number, megabytes: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve))
  const bytes = Buffer.alloc(2 ** 20, 0x5a)
  for (let i = 0; i < megabytes && !socket.closed; i++) {
    if (!socket.write(bytes)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
  }
  socket.destroy()
  await closed
}

needing(lacksGloo, lacksBuild, lacksLinux).describe('rank 0 of a job', () => {
  let children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children) child.kill('SIGKILL')
  })

  test('keeps little of what strangers send, refuses a wrong secret, and goes on waiting', async () => {
    const isTime = join(folder(), 'is-time')
    const late = ['sh', '-c', 'until [ -e "$0" ]; do sleep 0.1; done; exec "$@"', isTime]
    const launcher = byHand('gloo', '127.0.0.1', (rank) => (rank === 1 ? late : []))
    children = await launcher.start(2, [job, folder(), 'slow', '5'])
    const ended = collected(children)
    const pid = children[0]!.pid!
    const port = Number(told(pid, 'environ', 'MASTER_PORT'))
    await expect.poll(() => isListening(port), { timeout: 30_000 }).toBe(true)
    // The rendezvous and gloo, at the given address and nowhere else.
    await expect.poll(() => listeningOf(pid).length, { timeout: 30_000 }).toBeGreaterThan(1)
    expect(listeningOf(pid)).toContain(`127.0.0.1:${port}`)
    for (const place of listeningOf(pid)) expect(place).toMatch(/^127\.0\.0\.1:\d+$/)

    writeFileSync(`/proc/${pid}/clear_refs`, '5')
    const before = Number.parseInt(told(pid, 'status', 'VmHWM'), 10)
    await Promise.all(Array.from({ length: 100 }, () => garbage(port, 8)))
    expect(Number.parseInt(told(pid, 'status', 'VmHWM'), 10) - before).toBeLessThan(64 * 1024)

    const variables = ['RANK=1', 'WORLD_SIZE=2', 'MASTER_ADDR=127.0.0.1', `MASTER_PORT=${port}`]
    const impostor = byHand('', '', () => ['env', ...variables, 'MORA_JOB_SECRET=one that is not the job’s'])
    const refused = await collected(await impostor.start(1, [job, folder(), 'slow', '5']))
    expect(refused.stderr).toContain('have different secrets: MORA_JOB_SECRET has to be the same on all ranks.')

    writeFileSync(isTime, '')
    expect(await ended).toMatchObject({ code: 0, codes: [0, 0], stderr: '' })
  })
})

function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  }).finally(() => socket.destroy()) as Promise<boolean>
}
