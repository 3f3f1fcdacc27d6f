/**
 * Connects processes that only know one address: rank 0 listens there until all have come, and passes to each rank the data
 * that the others brought for it. Connections use TLS with the job's secret as pre-shared key, so that both ends prove that
 * they know it before any data is sent.
 */
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { RunError, reworded } from '../common/errors.js'
import type { LaunchedWithAddress } from './launcher.js'

interface Rendezvous extends Pick<LaunchedWithAddress, 'rank' | 'size' | 'address' | 'port'> {
  /** The job's secret, see `secretOfJob`. */
  secret: Buffer
  /** Milliseconds within which all ranks must arrive. */
  patience: number
  /** Milliseconds in which arriving ranks still receive the reason why the job cannot start. */
  limit: number
  /**
   * Returns the data of this rank: the same number of bytes for each rank, [size, n]. `address` is an address of this machine
   * that rank 0 can reach. If it throws, the job cannot start.
   */
  bring(address: string): Uint8Array
}

/** A rank's message to rank 0, as a line of JSON. */
interface Arrival {
  readonly rank: number
  readonly size: number
  /** In base64; null with a `failure`, which keeps the job from starting. */
  readonly brings: string | null
  readonly failure: string | null
}

/** Rank 0's answer: the data that all ranks brought for this one, in base64, or why the job cannot start. */
type Answer = { readonly brought: string } | { readonly refusal: string }

/** TLS 1.3 closes a connection with another key; one with a certificate is rejected below. */
const TLS = { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' } as const
const IDENTITY = 'node-mora ranks 3'
const BETWEEN_TRIES = 250
const BETWEEN_LOOKS = 20
/** Maximum number of unauthenticated connections; the oldest is closed if more come. */
const MAX_UNAUTHENTICATED = 64
const HANDSHAKE_PATIENCE = 10_000

/** Connects to rank 0, repeatedly until it is there and all others are. Returns the data for this rank, [size, n]. */
export async function joinRankZero(rendezvous: Rendezvous): Promise<Uint8Array> {
  const { rank, address, port, secret, patience } = rendezvous
  const place = placeText(rendezvous)
  const deadline = Date.now() + patience
  for (;;) {
    const pskCallback = () => ({ psk: secret, identity: IDENTITY })
    const socket = connect({ host: address, port, ...TLS, pskCallback, checkServerIdentity: () => undefined })
    const timer = setTimeout(() => socket.destroy(new Error('the others have not come')), deadline - Date.now())
    try {
      return await meet(rendezvous, socket)
    } catch (error) {
      if (!(error instanceof LostConnection)) throw error
      const { code, message } = error
      if (code.includes('ALERT_ILLEGAL_PARAMETER')) {
        throw new RunError(
          'wrong-secret',
          `Rank ${rank} and rank 0 at ${place} have different secrets: MORA_JOB_SECRET has to be the same on all ranks.`,
        )
      }
      if (/^ERR_SSL|CERT/.test(code))
        throw new RunError('not-rank-0', `What listens at ${place} is not rank 0 of a job of node-mora.`)
      if (Date.now() + BETWEEN_TRIES > deadline) {
        const within = `within ${seconds(patience)}`
        throw new RunError('ranks-missing', `Rank ${rank} could not meet rank 0 at ${place} ${within}: ${message}.`)
      }
    } finally {
      clearTimeout(timer)
      socket.destroy()
    }
    await pause(BETWEEN_TRIES)
  }
}

/** The connection with rank 0 failed; another attempt may succeed. */
class LostConnection extends Error {
  readonly code: string
  constructor({ code, message }: NodeJS.ErrnoException) {
    super(message)
    this.code = code ?? ''
  }
}

async function meet({ rank, size, bring }: Rendezvous, socket: TLSSocket): Promise<Uint8Array> {
  const lost = (error: Error): never => {
    throw new LostConnection(error)
  }
  socket.on('error', () => {})
  await once(socket, 'secureConnect').catch(lost)
  // An end that knows the secret has no certificate.
  if (socket.getPeerCertificate().raw) lost(Object.assign(new Error('it has a certificate'), { code: 'CERT' }))
  try {
    const brings = Buffer.from(bring(socket.localAddress!)).toString('base64')
    socket.write(lineOf({ rank, size, brings, failure: null }))
  } catch (error) {
    await sendLast(socket, { rank, size, brings: null, failure: (error as Error).message })
    throw error
  }
  const reply = await textOf(socket).catch(lost)
  if (reply === '') lost(new Error('the connection was closed'))
  const answer = JSON.parse(reply) as Answer
  if ('brought' in answer) return Buffer.from(answer.brought, 'base64')
  throw new RunError('refused-rank', `Rank 0 refuses rank ${rank}: ${answer.refusal}`)
}

async function textOf(socket: TLSSocket): Promise<string> {
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) text += chunk
  return text
}

/** Waits for all other ranks. Returns the data for rank 0, [size, n]. */
export async function host(rendezvous: Rendezvous): Promise<Uint8Array> {
  const deadline = Date.now() + rendezvous.patience
  const { secret } = rendezvous
  const server = createServer({
    ...TLS,
    handshakeTimeout: HANDSHAKE_PATIENCE,
    pskCallback: (_, identity) => (identity === IDENTITY ? secret : null),
  })
  const connections = new RankConnections(rendezvous, await listen(server, rendezvous, deadline), deadline)
  server.on('connection', (socket) => connections.admit(socket))
  server.on('secureConnection', (socket) => connections.accept(socket))
  try {
    return await connections.whenAllAreHere()
  } finally {
    connections.close()
    server.close()
  }
}

/** Listens at the address, whose name may not resolve yet: a platform may register it only after the machine has started. */
async function listen(server: Server, rendezvous: Rendezvous, deadline: number): Promise<string> {
  for (;;) {
    try {
      const { address } = await lookup(rendezvous.address)
      server.listen(rendezvous.port, address)
      await once(server, 'listening')
      return address
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const isLate = code === 'ENOTFOUND' || code === 'EAI_AGAIN'
      if (isLate && Date.now() < deadline) {
        await pause(BETWEEN_TRIES)
        continue
      }
      const why =
        code === 'EADDRNOTAVAIL'
          ? 'it is not an address of this machine; start rank 0 on the machine that has it'
          : message
      throw new RunError('cannot-listen', `Rank 0 cannot listen at ${placeText(rendezvous)}: ${why}.`, { cause: error })
    }
  }
}

/** A rank that has proved to know the secret, with its data for the others. */
interface ArrivedRank {
  readonly socket: TLSSocket
  readonly brings: Uint8Array
}

/** The connections of rank 0 with the other ranks. */
class RankConnections {
  /** Unauthenticated connections by address and port. */
  readonly #unauthenticated = new Map<string, Socket>()
  readonly #arrived = new Map<number, ArrivedRank>()
  #own: Uint8Array = new Uint8Array()
  /** Why the job cannot start. */
  #failure: Error | null = null
  readonly #rendezvous: Rendezvous
  #deadline: number

  constructor(rendezvous: Rendezvous, address: string, deadline: number) {
    this.#rendezvous = rendezvous
    this.#deadline = deadline
    try {
      this.#own = rendezvous.bring(address)
    } catch (error) {
      this.#fail(reworded(error, (message) => `Rank 0 cannot start: ${message}`) as Error)
    }
  }

  /** Sets the first failure: all ranks that come before the deadline receive it, and the deadline is closer from then on. */
  #fail(error: Error): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#deadline = Math.min(this.#deadline, Date.now() + this.#rendezvous.limit)
  }

  /** Accepts a connection that is not authenticated yet. */
  admit(socket: Socket): void {
    const [oldest] = this.#unauthenticated.values()
    if (this.#unauthenticated.size >= MAX_UNAUTHENTICATED) oldest?.destroy()
    const name = nameOf(socket)
    this.#unauthenticated.set(name, socket)
    socket.once('close', () => this.#unauthenticated.delete(name))
  }

  /** Accepts a connection whose end knows the secret. */
  accept(socket: TLSSocket): void {
    this.#unauthenticated.delete(nameOf(socket))
    socket.on('error', () => {})
    createInterface({ input: socket }).once('line', (line) => this.#arrive(socket, JSON.parse(line) as Arrival))
  }

  #arrive(socket: TLSSocket, { rank, size, brings, failure }: Arrival): void {
    const refusal = this.#whyNot(rank, size)
    if (refusal !== null) {
      void sendLast(socket, { refusal })
      return
    }
    const newcomer = { socket, brings: Buffer.from(brings ?? '', 'base64') }
    this.#arrived.set(rank, newcomer)
    // A rank that leaves before the others have come may come again; a failure is final.
    const isUnlike = newcomer.brings.length !== this.#own.length
    const cannot = failure ?? (isUnlike ? 'it has another version of gloo than rank 0.' : null)
    if (cannot !== null) this.#fail(new RunError('rank-failed', `Rank ${rank} cannot start: ${cannot}`))
    else socket.once('close', () => this.#arrived.get(rank) === newcomer && this.#arrived.delete(rank))
  }

  #whyNot(rank: number, size: number): string | null {
    const { size: own } = this.#rendezvous
    if (size !== own) return `rank 0 expects ${own} ranks, and rank ${rank} expects ${size}.`
    if (rank < 1 || rank >= size || this.#arrived.has(rank)) return `two processes say that they are rank ${rank}.`
    return null
  }

  async whenAllAreHere(): Promise<Uint8Array> {
    const { size } = this.#rendezvous
    while (this.#arrived.size < size - 1 && Date.now() < this.#deadline) await pause(BETWEEN_LOOKS)
    const problem = this.#failure ?? this.#absence()
    const arrived = new Map(this.#arrived)
    if (problem !== null) {
      await Promise.all([...arrived.values()].map(({ socket }) => sendLast(socket, { refusal: problem.message })))
      throw problem
    }
    const all = [this.#own, ...Array.from({ length: size - 1 }, (_, i) => arrived.get(i + 1)!.brings)]
    const bytes = this.#own.length / size
    const broughtFor = (rank: number) => Buffer.concat(all.map((one) => one.subarray(rank * bytes, (rank + 1) * bytes)))
    await Promise.all(
      [...arrived].map(([rank, { socket }]) => sendLast(socket, { brought: broughtFor(rank).toString('base64') })),
    )
    return broughtFor(0)
  }

  /** Returns the error that names the missing ranks, if any. */
  #absence(): RunError | null {
    const { size, patience } = this.#rendezvous
    const missing = Array.from({ length: size - 1 }, (_, i) => i + 1).filter((rank) => !this.#arrived.has(rank))
    if (missing.length === 0) return null
    const who = missing.length === 1 ? `Rank ${missing[0]} has` : `Ranks ${listed(missing)} have`
    const place = placeText(this.#rendezvous)
    return new RunError('ranks-missing', `${who} not come to ${place} within ${seconds(patience)}.`)
  }

  close(): void {
    for (const socket of this.#unauthenticated.values()) socket.destroy()
  }
}

const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`

const listed = (ranks: readonly number[]): string =>
  ranks.length > 8 ? `${ranks.slice(0, 8).join(', ')} and ${ranks.length - 8} more` : ranks.join(', ')

const placeText = ({ address, port }: Pick<Rendezvous, 'address' | 'port'>): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

const seconds = (milliseconds: number): string => `${Math.round(milliseconds / 1000)} s`

const lineOf = (message: Arrival | Answer): string => `${JSON.stringify(message)}\n`

/** Sends a message and ends the connection; resolves when it has been sent. */
function sendLast(socket: TLSSocket, message: Arrival | Answer): Promise<void> {
  return new Promise((resolve) => {
    socket.end(lineOf(message), () => resolve()).once('close', () => resolve())
  })
}
