/** Rank 0's end of a rendezvous. */
import { lookup } from 'node:dns/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { RunError, reworded } from '../common/errors.js'
import { Channel } from './channel.js'
import {
  Answer,
  GREETING,
  HELLO_NUMBERS,
  type Meeting,
  MOST_BYTES_OF_A_RANK,
  placeText,
  seconds,
} from './rendezvous.js'
import { CHALLENGE_BYTES, newChallenge, PROOF_BYTES, type Secret } from './secret.js'

/** Connections that have not proved anything yet; where more come, the oldest is closed. */
const MOST_STRANGERS = 64
const PATIENCE_WITH_STRANGERS = 10_000
const BETWEEN_LOOKS = 20
const OTHER_VERSION = 'it has another version of gloo than rank 0.'

interface Guest {
  channel: Channel
  secret: Secret
  brings: Uint8Array
}

/** Waits for all other ranks; what they brought for rank 0, [size, n]. */
export async function host(meeting: Meeting): Promise<Uint8Array> {
  const deadline = Date.now() + meeting.patience
  const server = createServer()
  const reception = new Reception(meeting, await listen(server, meeting, deadline), deadline)
  server.on('connection', (socket) => void reception.welcome(socket))
  try {
    return await reception.whenAllAreHere()
  } finally {
    reception.close()
    server.close()
  }
}

/** Its name may not be known yet, where the platform gives it to a machine that has started. */
async function listen(server: Server, meeting: Meeting, deadline: number): Promise<string> {
  for (;;) {
    try {
      const { address } = await lookup(meeting.address)
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(meeting.port, address, () => {
          server.off('error', reject)
          resolve()
        })
      })
      return address
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const isLate = code === 'ENOTFOUND' || code === 'EAI_AGAIN'
      if (isLate && Date.now() < deadline) {
        await pause(250)
        continue
      }
      const why =
        code === 'EADDRNOTAVAIL' ? 'it is no address of this machine, on which rank 0 has to be started' : message
      throw new RunError('cannot-listen', `Rank 0 cannot listen at ${placeText(meeting)}: ${why}.`, { cause: error })
    }
  }
}

class Reception {
  readonly #strangers = new Set<Socket>()
  readonly #guests = new Map<number, Guest>()
  #own: Uint8Array = new Uint8Array()
  #isOver = false
  /** Why the job cannot start. */
  #failure: Error | null = null

  constructor(
    private readonly meeting: Meeting,
    address: string,
    private deadline: number,
  ) {
    try {
      this.#own = meeting.bring(address)
    } catch (error) {
      this.#fail(reworded(error, (message) => `Rank 0 cannot start: ${message}`) as Error)
    }
  }

  /** All hear of the first failure who come before the deadline, which is closer from then on. */
  #fail(error: Error): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.deadline = Math.min(this.deadline, Date.now() + this.meeting.limit)
  }

  async welcome(socket: Socket): Promise<void> {
    const [oldest] = this.#strangers
    if (this.#isOver) socket.destroy()
    else if (this.#strangers.size >= MOST_STRANGERS) oldest?.destroy()
    this.#strangers.add(socket)
    socket.once('close', () => this.#strangers.delete(socket))
    const timer = setTimeout(() => socket.destroy(), PATIENCE_WITH_STRANGERS)
    try {
      await this.#meet(new Channel(socket))
    } catch {
      socket.destroy() // whoever it is may come again
    } finally {
      clearTimeout(timer)
    }
  }

  async #meet(channel: Channel): Promise<void> {
    const challenge = newChallenge()
    channel.write(Buffer.concat([GREETING, challenge]))
    const numbers = await channel.read(HELLO_NUMBERS)
    const theirs = await channel.read(CHALLENGE_BYTES)
    const proof = await channel.read(PROOF_BYTES)
    const { secret, size } = this.meeting
    if (!secret.isProof(proof, 'guest', challenge, theirs, numbers)) {
      channel.write(Uint8Array.of(Answer.no))
      channel.socket.destroySoon() // whatever else it says, and however long it stays
      return
    }
    const accepted = secret.proof('host', theirs, challenge, numbers)
    channel.write(Buffer.concat([Uint8Array.of(Answer.yes), accepted]))
    const session = secret.derived(challenge, theirs, numbers)
    const message = await channel.message(session, 'guest', 1 + size * MOST_BYTES_OF_A_RANK)
    this.#strangers.delete(channel.socket)
    const [rank, sizeThere] = [numbers.readUInt32BE(0), numbers.readUInt32BE(4)]
    const brings = message.subarray(1)
    const guest = { channel, secret: session, brings }
    const why = this.#whyNot(rank, sizeThere)
    if (why !== null) return refuse(guest, why)
    this.#guests.set(rank, guest)
    const cannot = message[0] === Answer.no ? brings : brings.length !== this.#own.length && OTHER_VERSION
    if (cannot) return this.#fail(new RunError('rank-failed', `Rank ${rank} cannot start: ${cannot}`))
    // One that leaves before the others have come, may come again.
    channel.read(1).catch(() => this.#guests.get(rank) === guest && this.#guests.delete(rank))
  }

  #whyNot(rank: number, size: number): string | null {
    if (size !== this.meeting.size) return `rank 0 was told of ${this.meeting.size} ranks and rank ${rank} of ${size}.`
    if (rank < 1 || rank >= size || this.#guests.has(rank)) return `two processes say that they are rank ${rank}.`
    return null
  }

  async whenAllAreHere(): Promise<Uint8Array> {
    const { size } = this.meeting
    while (this.#guests.size < size - 1 && Date.now() < this.deadline) await pause(BETWEEN_LOOKS)
    const problem = this.#failure ?? this.#absence()
    if (problem !== null) {
      await Promise.all([...this.#guests.values()].map((guest) => refuse(guest, problem.message)))
      throw problem
    }
    const all = [this.#own, ...Array.from({ length: size - 1 }, (_, i) => this.#guests.get(i + 1)!.brings)]
    const bytes = this.#own.length / size
    const forRank = (rank: number) => Buffer.concat(all.map((one) => one.subarray(rank * bytes, (rank + 1) * bytes)))
    await Promise.all(
      [...this.#guests].map(([rank, { channel, secret }]) =>
        channel.sendLast(Answer.yes, forRank(rank), secret, 'host'),
      ),
    )
    return forRank(0)
  }

  /** Names who is missing. */
  #absence(): RunError | null {
    const { size, patience } = this.meeting
    const missing = Array.from({ length: size - 1 }, (_, i) => i + 1).filter((rank) => !this.#guests.has(rank))
    if (missing.length === 0) return null
    const who = missing.length === 1 ? `Rank ${missing[0]} has` : `Ranks ${listed(missing)} have`
    return new RunError('ranks-missing', `${who} not come to ${placeText(this.meeting)} within ${seconds(patience)}.`)
  }

  close(): void {
    this.#isOver = true
    for (const socket of this.#strangers) socket.destroy()
  }
}

const listed = (ranks: readonly number[]): string =>
  ranks.length > 8 ? `${ranks.slice(0, 8).join(', ')} and ${ranks.length - 8} more` : ranks.join(', ')

/** Resolves when it has been sent. */
const refuse = ({ channel, secret }: Guest, why: string): Promise<void> =>
  channel.sendLast(Answer.no, Buffer.from(why), secret, 'host')
