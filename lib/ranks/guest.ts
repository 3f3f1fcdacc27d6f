/** Any other rank's end of a rendezvous. */
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { RunError } from '../common/errors.js'
import { Channel, Closed } from './channel.js'
import {
  Answer,
  GREETING,
  HELLO_NUMBERS,
  type Meeting,
  MOST_BYTES_OF_A_RANK,
  placeText,
  seconds,
} from './rendezvous.js'
import { CHALLENGE_BYTES, newChallenge, PROOF_BYTES } from './secret.js'

const BETWEEN_TRIES = 250

/** Comes to rank 0, again and again until it is there and all others are; what they brought for this rank, [size, n]. */
export async function visit(meeting: Meeting): Promise<Uint8Array> {
  const deadline = Date.now() + meeting.patience
  for (;;) {
    const socket = connect({ host: meeting.address, port: meeting.port })
    const timer = setTimeout(() => socket.destroy(new Error('the others have not come')), deadline - Date.now())
    try {
      return await meet(meeting, socket)
    } catch (error) {
      if (!(error instanceof Closed)) throw error
      if (Date.now() + BETWEEN_TRIES > deadline) {
        throw new RunError(
          'ranks-missing',
          `Rank ${meeting.rank} could not meet rank 0 at ${placeText(meeting)} within ${seconds(meeting.patience)}: ${error.message}.`,
        )
      }
    } finally {
      clearTimeout(timer)
      socket.destroy()
    }
    await pause(BETWEEN_TRIES)
  }
}

async function meet(meeting: Meeting, socket: Socket): Promise<Uint8Array> {
  const { rank, size, secret } = meeting
  const channel = new Channel(socket)
  const greeting = await channel.read(GREETING.length)
  if (!greeting.equals(GREETING)) {
    throw new RunError('not-rank-0', `What listens at ${placeText(meeting)} is not rank 0 of a job of node-mora.`)
  }
  const [challenge, own, numbers] = [await channel.read(CHALLENGE_BYTES), newChallenge(), Buffer.alloc(HELLO_NUMBERS)]
  numbers.writeUInt32BE(rank, 0)
  numbers.writeUInt32BE(size, 4)
  channel.write(Buffer.concat([numbers, own, secret.proof('guest', challenge, own, numbers)]))
  const accepts = (await channel.read(1))[0] === Answer.yes
  if (!accepts || !secret.isProof(await channel.read(PROOF_BYTES), 'host', own, challenge, numbers)) {
    throw new RunError(
      'wrong-secret',
      `Rank ${rank} and rank 0 at ${placeText(meeting)} have different secrets: MORA_JOB_SECRET has to be the same on all ranks.`,
    )
  }
  const session = secret.derived(challenge, own, numbers)
  let brings: Uint8Array
  try {
    brings = meeting.bring(socket.localAddress!)
  } catch (error) {
    await channel.sendLast(Answer.no, Buffer.from((error as Error).message), session, 'guest')
    throw error
  }
  channel.sendMessage(Buffer.concat([Uint8Array.of(Answer.yes), brings]), session, 'guest')
  const answer = await channel.message(session, 'host', 1 + size * MOST_BYTES_OF_A_RANK)
  if (answer[0] === Answer.yes) return answer.subarray(1)
  throw new RunError('refused-rank', `Rank 0 refuses rank ${rank}: ${answer.subarray(1)}`)
}
