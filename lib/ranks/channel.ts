/** Bytes between two ranks. No more is kept of what comes than was asked for, and one buffer of the socket. */
import type { Socket } from 'node:net'
import { RunError } from '../common/errors.js'
import { PROOF_BYTES, type Secret } from './secret.js'

/** The other end closed the connection, or `socket.destroy()` did. */
export class Closed extends Error {}

export class Channel {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)
  #sent = 0
  #received = 0

  constructor(readonly socket: Socket) {
    // What reads or writes learns of it.
    socket.on('error', () => {})
    this.#chunks = socket[Symbol.asyncIterator]()
  }

  /** So many bytes, or rejects with `Closed`. */
  async read(count: number): Promise<Buffer> {
    const parts = [this.#rest]
    let total = this.#rest.length
    while (total < count) {
      const { value, done } = await this.#chunks.next().catch((error: Error) => {
        throw new Closed(error.message)
      })
      if (done) throw new Closed('the connection was closed')
      parts.push(value)
      total += value.length
    }
    const all = Buffer.concat(parts)
    this.#rest = all.subarray(count)
    return all.subarray(0, count)
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes)
  }

  /** A message that only who knows the secret can have sent, in this place. `by` names the end. */
  sendMessage(bytes: Uint8Array, secret: Secret, by: string): void {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    this.write(Buffer.concat([length, bytes, secret.proof(by, `${this.#sent++}`, bytes)]))
  }

  /** A message after which nothing is sent; resolves when it is on its way. */
  sendLast(kind: number, bytes: Uint8Array, secret: Secret, by: string): Promise<void> {
    this.sendMessage(Buffer.concat([Uint8Array.of(kind), bytes]), secret, by)
    return new Promise((resolve) => this.socket.end(() => resolve()).once('close', () => resolve()))
  }

  /** The other end's next message of at most `most` bytes. */
  async message(secret: Secret, by: string, most: number): Promise<Buffer> {
    const length = (await this.read(4)).readUInt32BE()
    if (length > most) throw new RunError('bad-message', `Expected a message of at most ${most} bytes, not ${length}.`)
    const bytes = await this.read(length)
    const proof = await this.read(PROOF_BYTES)
    if (secret.isProof(proof, by, `${this.#received++}`, bytes)) return bytes
    throw new RunError('bad-message', 'A message of another rank was changed on its way.')
  }
}
