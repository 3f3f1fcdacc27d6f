/** Ranks that find each other by an address and a secret, and strangers who come to the same address. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { RunError } from '../../lib/common/errors.js'
import { host, joinRankZero } from '../../lib/ranks/rendezvous.js'
import { secretOfJob } from '../../lib/ranks/secret.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, needing } from '../needs.js'
import { freePort } from './free-port.js'

const folder = useTemporaryFolder()
const secret = secretOfJob({ MORA_JOB_SECRET: 'one that all ranks know' })
const otherSecret = secretOfJob({ MORA_JOB_SECRET: 'another secret of a job' })

const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

/** Each rank sends to each rank both of their numbers. */
const meetingOf = (rank: number, size: number, port: number) => ({
  rank,
  size,
  port,
  secret,
  address: '127.0.0.1',
  patience: 20_000,
  limit: 20_000,
  bring: (address: string) => {
    expect(address).toBe('127.0.0.1')
    return Uint8Array.from(Array.from({ length: size }, (_, other) => [rank, other]).flat())
  },
})

const broughtFor = (rank: number, size: number) => Array.from({ length: size }, (_, from) => [from, rank]).flat()

/** Connected to rank 0, which may not listen yet. */
async function stranger(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    sockets.push(socket)
    const came = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('close', () => resolve(false))
    })
    if (came) return socket
  }
}

test('each rank gets the data that the others sent to it, in whichever order they come', async () => {
  const port = await freePort()
  const early = joinRankZero(meetingOf(2, 4, port))
  const hosted = host(meetingOf(0, 4, port))
  const late = [joinRankZero(meetingOf(3, 4, port)), joinRankZero(meetingOf(1, 4, port))]
  const [of0, of2, of3, of1] = await Promise.all([hosted, early, ...late])
  expect([of0, of1, of2, of3].map((bytes) => [...bytes!])).toEqual([0, 1, 2, 3].map((rank) => broughtFor(rank, 4)))
})

test('garbage, silence and a crowd are turned away, and the job goes on waiting', async () => {
  const port = await freePort()
  const hosted = host(meetingOf(0, 2, port))
  const talker = await stranger(port)
  const closed = new Promise((resolve) => talker.once('close', resolve))
  talker.resume()
  for (let i = 0; i < 16; i++) talker.write(Buffer.alloc(65_536, i))
  await closed
  // More connections than the limit: the oldest are closed, and no more than the limit stay open.
  const crowd = await Promise.all(Array.from({ length: 200 }, () => stranger(port)))
  for (const one of crowd) one.resume()
  await expect.poll(() => crowd.filter(({ closed: is }) => !is).length, { timeout: 20_000 }).toBeLessThanOrEqual(64)
  const [of0, of1] = await Promise.all([hosted, joinRankZero(meetingOf(1, 2, port))])
  expect([[...of0], [...of1]]).toEqual([broughtFor(0, 2), broughtFor(1, 2)])
})

test('a wrong secret is refused on both sides', async () => {
  const port = await freePort()
  const hosted = host(meetingOf(0, 2, port))
  await expect(joinRankZero({ ...meetingOf(1, 2, port), secret: otherSecret })).rejects.toThrow(
    `Rank 1 and rank 0 at 127.0.0.1:${port} have different secrets: MORA_JOB_SECRET has to be the same on all ranks.`,
  )
  await Promise.all([hosted, joinRankZero(meetingOf(1, 2, port))])
})

describe('a rank sends nothing to a false rank 0', () => {
  /** A rank's error on such a server, which records what it receives after the connection. */
  async function joined(options: TlsOptions): Promise<{ message: string; heard: string }> {
    let heard = ''
    const server = createTlsServer(options, (socket) => {
      socket
        .on('error', () => {})
        .on('data', (bytes) => {
          heard += bytes
        })
    })
    server.on('tlsClientError', () => {}).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const message = await joinRankZero(meetingOf(1, 2, port)).then(
      () => '',
      (error: Error) => error.message,
    )
    await new Promise((resolve) => server.close(resolve))
    return { message, heard }
  }

  test('with another secret', async () => {
    const { message, heard } = await joined({ pskCallback: () => otherSecret, ciphers: 'TLS_AES_128_GCM_SHA256' })
    expect(message).toContain('have different secrets')
    expect(heard).toBe('')
  })

  const lacksOpenssl = lack('openssl', spawnSync('openssl', ['version']).status === 0)
  needing(lacksOpenssl).test('with a certificate', async () => {
    const [key, cert] = [join(folder(), 'key.pem'), join(folder(), 'certificate.pem')]
    const argv = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=127.0.0.1', '-keyout', key, '-out', cert]
    expect(spawnSync('openssl', ['req', ...argv]).status).toBe(0)
    const { message, heard } = await joined({ key: readFileSync(key), cert: readFileSync(cert) })
    expect(message).toContain('is not rank 0 of a job of node-mora.')
    expect(heard).toBe('')
  })
})

test('that is not a rank, and names it', async () => {
  const server = createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const message = `What listens at 127.0.0.1:${port} is not rank 0 of a job of node-mora.`
  await expect(joinRankZero(meetingOf(1, 2, port))).rejects.toThrow(message)
  server.close()
})

test('contradictory ranks are reported', async () => {
  const port = await freePort()
  const hosted = host(meetingOf(0, 3, port))
  await expect(joinRankZero(meetingOf(1, 2, port))).rejects.toThrow(
    'Rank 0 refuses rank 1: rank 0 expects 3 ranks, and rank 1 expects 2.',
  )
  const first = joinRankZero(meetingOf(1, 3, port))
  const twice = joinRankZero(meetingOf(1, 3, port))
  const told = await Promise.race([first, twice].map((joined) => joined.catch((error: Error) => error.message)))
  expect(told).toBe('Rank 0 refuses rank 1: two processes say that they are rank 1.')
  await joinRankZero(meetingOf(2, 3, port))
  await hosted
  await Promise.allSettled([first, twice])
})

test('ranks that have not come in time are named to the others', async () => {
  const port = await freePort()
  const hosted = host({ ...meetingOf(0, 3, port), patience: 1500 })
  const message = `Rank 2 has not come to 127.0.0.1:${port} within 2 s.`
  const joined = joinRankZero({ ...meetingOf(1, 3, port), patience: 20_000 })
  await Promise.all([
    expect(hosted).rejects.toThrow(message),
    expect(joined).rejects.toThrow(`Rank 0 refuses rank 1: ${message}`),
  ])
})

describe('where a rank cannot start', () => {
  const cannot = (meeting: ReturnType<typeof meetingOf>) => ({
    ...meeting,
    bring: () => {
      throw new RunError('no-gloo', 'There is no gloo.')
    },
  })

  test('rank 0 tells ranks that come, and stops listening', async () => {
    const port = await freePort()
    const hosted = host(cannot(meetingOf(0, 3, port)))
    const joined = [1, 2].map((rank) => joinRankZero(meetingOf(rank, 3, port)))
    const message = 'Rank 0 cannot start: There is no gloo.'
    await expect(hosted).rejects.toThrow(expect.objectContaining({ code: 'no-gloo', message }))
    for (const [i, one] of joined.entries())
      await expect(one).rejects.toThrow(`Rank 0 refuses rank ${i + 1}: ${message}`)
    await host({ ...meetingOf(0, 1, port) })
  })

  test('rank 0 waits no longer than the limit for missing ranks', async () => {
    const port = await freePort()
    const hosted = host({ ...cannot(meetingOf(0, 3, port)), patience: 3_600_000, limit: 500 })
    const joined = joinRankZero(meetingOf(1, 3, port))
    const message = 'Rank 0 cannot start: There is no gloo.'
    await Promise.all([
      expect(hosted).rejects.toThrow(message),
      expect(joined).rejects.toThrow(`Rank 0 refuses rank 1: ${message}`),
    ])
  })

  test('the others learn which rank failed', async () => {
    const port = await freePort()
    const [of0, of1, of2] = [
      host(meetingOf(0, 3, port)),
      joinRankZero(cannot(meetingOf(1, 3, port))),
      joinRankZero(meetingOf(2, 3, port)),
    ]
    const message = 'Rank 1 cannot start: There is no gloo.'
    await Promise.all([
      expect(of0).rejects.toThrow(expect.objectContaining({ code: 'rank-failed', message })),
      expect(of1).rejects.toThrow(expect.objectContaining({ code: 'no-gloo', message: 'There is no gloo.' })),
      expect(of2).rejects.toThrow(`Rank 0 refuses rank 2: ${message}`),
    ])
  })

  test('rank 0 refuses one with another version of gloo, and ends', async () => {
    const port = await freePort()
    const other = { ...meetingOf(1, 2, port), bring: () => new Uint8Array(6) }
    const message = 'Rank 1 cannot start: it has another version of gloo than rank 0.'
    await Promise.all([
      expect(host(meetingOf(0, 2, port))).rejects.toThrow(message),
      expect(joinRankZero(other)).rejects.toThrow(message),
    ])
  })
})

test('a rank that left before the others came may come again', async () => {
  const port = await freePort()
  const hosted = host(meetingOf(0, 3, port))
  const refused = joinRankZero({ ...meetingOf(1, 3, port), patience: 1000 })
  await expect(refused).rejects.toThrow(`Rank 1 could not meet rank 0 at 127.0.0.1:${port} within 1 s`)
  const all = await Promise.all([hosted, joinRankZero(meetingOf(1, 3, port)), joinRankZero(meetingOf(2, 3, port))])
  expect(all.map((bytes) => [...bytes])).toEqual([0, 1, 2].map((rank) => broughtFor(rank, 3)))
})

test('rank 0 listens on an address of its machine only', async () => {
  const elsewhere = { ...meetingOf(0, 2, await freePort()), address: '192.0.2.1' }
  await expect(host(elsewhere)).rejects.toThrow(
    'it is not an address of this machine; start rank 0 on the machine that has it',
  )
})

test('a job has a secret, from a variable or a file', () => {
  const text = 'a secret of 24 characters'
  const path = join(folder(), 'secret')
  writeFileSync(path, `${text}\n`, { mode: 0o600 })
  const ofFile = secretOfJob({ MORA_JOB_SECRET_FILE: path })
  expect(ofFile).toEqual(secretOfJob({ MORA_JOB_SECRET: text }))
  expect(() => secretOfJob({})).toThrow(
    'Ranks that connect over TCP need a secret: set MORA_JOB_SECRET to the same text on all of them, for instance one from ' +
      '`openssl rand -hex 32`, or MORA_JOB_SECRET_FILE to the path of a file with it.',
  )
  expect(() => secretOfJob({ MORA_JOB_SECRET: 'short' })).toThrow(
    'Expected at least 16 characters in MORA_JOB_SECRET but received 5',
  )
  expect(() => secretOfJob({ MORA_JOB_SECRET_FILE: join(folder(), 'none') })).toThrow('is refused: ENOENT')
})

test('a file that others may use, or a path that is not a file, is refused as a secret', () => {
  const path = join(folder(), 'secret')
  writeFileSync(path, 'a secret of 24 characters')
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(path, mode)
    expect(() => secretOfJob({ MORA_JOB_SECRET_FILE: path })).toThrow(
      `${path}, of MORA_JOB_SECRET_FILE, is refused: users other than its owner can access it; run \`chmod 600 ${path}\`.`,
    )
  }
  expect(() => secretOfJob({ MORA_JOB_SECRET_FILE: '/dev/zero' })).toThrow('it is not a regular file')
})
