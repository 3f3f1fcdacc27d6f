/** Memory that the ranks of one machine share: each fills a part of it, and all read it. */
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { type NativeDevice, native } from '../native/addon.js'
import { pathOfSharedMemory } from '../system/memory.js'
import { failureReason, gatherJson, type Ranks } from './ranks.js'
import { keep } from './scope.js'
import { Tensor } from './tensor.js'

/** Ranks that may share memory. All of them call `HostMemory.meet` and, if it returns memory, `exchange`. */
export interface HostRanks extends Pick<Ranks, 'rank' | 'size' | 'gather'> {
  /** The name of this rank's machine. */
  readonly host: string
}

/** The part of a rank, as other ranks find it. */
interface Place {
  /** The machine and the content; null if the rank shares nothing. */
  readonly key: string | null
  readonly pid: number
  /** File descriptor of the part; null if there is none. */
  readonly descriptor: number | null
  /** Random first bytes of the part, in hexadecimal, which identify it. */
  readonly proof: string
}

interface FilledPart<Description> {
  /** uint8 [n] on the CPU; the caller owns it. Writes are private to this process. */
  readonly memory: Tensor
  /** The rank's description of its part. */
  readonly description: Description
}

/** Alignment of additions: a multiple of every system's page size. */
const PAGE = 2 ** 16
const PROOF_BYTES = 16

export class HostMemory {
  /** Descriptors of the parts by rank, this rank's included. */
  readonly #parts = new Map<number, number>()
  /** Bytes of this rank's part so far. */
  #bytes = PROOF_BYTES
  readonly #ranks: HostRanks

  private constructor(ranks: HostRanks) {
    this.#ranks = ranks
  }

  /**
   * Returns memory that the ranks of each machine share; null on all ranks if no two ranks have the same content, if a rank shares
   * nothing, or if a rank cannot share memory: rank 0 then warns.
   * @param what names the content: only ranks with the same content share memory; null if this rank shares nothing
   */
  static async meet(ranks: HostRanks, what: string | null): Promise<HostMemory | null> {
    if (ranks.size === 1) return null
    const memory = new HostMemory(ranks)
    try {
      if (await memory.#meet(what === null ? null : `${ranks.host}: ${what}`)) return memory
    } catch (error) {
      memory.close()
      throw error
    }
    memory.close()
    return null
  }

  /** Number of ranks that share the memory. */
  get readers(): number {
    return this.#parts.size
  }

  /** This rank's place among the ranks that share the memory, from 0. */
  get place(): number {
    return [...this.#parts.keys()].sort((a, b) => a - b).indexOf(this.#ranks.rank)
  }

  /** Extends this rank's part: returns memory to fill, uint8 [n], which the caller owns, and its offset in the part. */
  add(device: NativeDevice, bytes: number): { memory: Tensor; offset: number } {
    const offset = Math.ceil(this.#bytes / PAGE) * PAGE
    const handle = native.mapToWrite(device, this.#own, offset, bytes)
    this.#bytes = offset + bytes
    return { memory: keep(new Tensor(handle, device, 'uint8', [bytes], [1])), offset }
  }

  /**
   * Waits until every rank has filled its part, and returns the parts that this rank reads, with each rank's description. The
   * memory lives until its last mapping is gone.
   */
  async exchange<Description>(device: NativeDevice, own: Description): Promise<FilledPart<Description>[]> {
    const parts: FilledPart<Description>[] = []
    try {
      const all = await gatherJson(this.#ranks, { bytes: this.#bytes, description: own })
      for (const [rank, descriptor] of this.#parts) {
        const { bytes, description } = all[rank]!
        const handle = native.mapToRead(device, descriptor, bytes, this.readers)
        const memory = keep(new Tensor(handle, device, 'uint8', [bytes], [1]))
        parts.push({ memory, description })
      }
      return parts
    } catch (error) {
      for (const { memory } of parts) memory.dispose()
      throw error
    } finally {
      this.close()
    }
  }

  /** Closes all descriptors; for memory that is not needed after all. */
  close(): void {
    for (const descriptor of this.#parts.values()) closeSync(descriptor)
    this.#parts.clear()
  }

  get #own(): number {
    return this.#parts.get(this.#ranks.rank)!
  }

  async #meet(key: string | null): Promise<boolean> {
    const { rank } = this.#ranks
    const reasons: string[] = []
    const attempt = (work: () => void) => {
      try {
        work()
      } catch (error) {
        reasons.push(failureReason(error))
      }
    }
    const proof = randomBytes(PROOF_BYTES)
    if (key !== null) {
      attempt(() => {
        this.#parts.set(rank, native.createSharedMemory())
        writeSync(this.#own, proof, 0, PROOF_BYTES, 0)
      })
    }
    const descriptor = this.#parts.get(rank) ?? null
    const places = await gatherJson<Place>(this.#ranks, {
      key,
      pid: process.pid,
      descriptor,
      proof: proof.toString('hex'),
    })
    const isBeside = (place: Place) => key !== null && place.key === key
    for (const [other, place] of places.entries())
      if (other !== rank && isBeside(place)) attempt(() => this.#parts.set(other, opened(place, other)))
    const all = await gatherJson(this.#ranks, reasons[0] ?? null)
    const without = all.findIndex((reason) => reason !== null)
    if (without >= 0) {
      if (rank === 0) warn(`rank ${without} cannot share memory with the others on its machine (${all[without]})`)
      return false
    }
    const keys = places.map((place) => place.key)
    return !keys.includes(null) && new Set(keys).size < keys.length
  }
}

/** Opens the part of another rank and returns its descriptor. */
function opened({ pid, descriptor, proof }: Place, rank: number): number {
  const path = pathOfSharedMemory(pid, descriptor)
  let found: number
  try {
    found = openSync(path, 'r')
  } catch (error) {
    throw new Error(`the memory of rank ${rank} cannot be opened: ${failureReason(error)}`)
  }
  const begins = Buffer.alloc(PROOF_BYTES)
  readSync(found, begins, 0, PROOF_BYTES, 0)
  if (begins.toString('hex') === proof) return found
  closeSync(found)
  throw new Error(`${path} is not the memory of rank ${rank}, which is in another PID namespace`)
}

function warn(why: string): void {
  process.emitWarning(`Ranks of a machine do not share the memory of the base, since ${why}.`, {
    type: 'MoraWarning',
    code: 'base-not-shared',
  })
}
