/** Memory that ranks of one machine have once: each fills a part of it, and all read it. */
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { type NativeDevice, native } from '../native/addon.js'
import { gatherJson, type Ranks } from './ranks.js'
import { keep } from './scope.js'
import { Tensor } from './tensor.js'

/** Ranks that may share memory. All of them call `HostMemory.meet`, and `exchange` where that gives memory. */
export interface HostRanks extends Pick<Ranks, 'rank' | 'size' | 'gather'> {
  /** The name of this rank's machine. */
  readonly host: string
}

/** How others find a rank's part. */
interface Place {
  /** The machine, and what is to lie there; null where the rank shares nothing. */
  readonly key: string | null
  readonly pid: number
  /** Null where there is none. */
  readonly descriptor: number | null
  /** What it begins with, in hexadecimal, as no other does. */
  readonly proof: string
}

export interface FilledPart<Facts> {
  /** uint8 [n] of the device cpu; the caller owns it. What this process writes there, it alone sees. */
  readonly memory: Tensor
  /** What the rank says of it. */
  readonly facts: Facts
}

/** A multiple of a page of every system: where what is added begins. */
const PAGE = 2 ** 16
const PROOF_BYTES = 16

export class HostMemory {
  /** Descriptors of the parts, by rank; this rank's own among them. */
  readonly #parts = new Map<number, number>()
  /** Bytes of this rank's part so far. */
  #bytes = PROOF_BYTES

  private constructor(private readonly ranks: HostRanks) {}

  /**
   * Memory that the ranks of a machine share, on every machine. Null, on all ranks, where no two would share any, where one of
   * them shares nothing, or where one cannot: rank 0 warns of that.
   * @param what is to lie in it: only ranks with the same share it; null where this rank shares nothing
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

  /** How many ranks share it. */
  get readers(): number {
    return this.#parts.size
  }

  /** This rank's place among them, from 0. */
  get place(): number {
    return [...this.#parts.keys()].sort((a, b) => a - b).indexOf(this.ranks.rank)
  }

  /** More of this rank's part, uint8 [n], to be filled, and where it lies there. The caller owns it. */
  add(device: NativeDevice, bytes: number): { memory: Tensor; offset: number } {
    const offset = Math.ceil(this.#bytes / PAGE) * PAGE
    const handle = native.mapToWrite(device, this.#own, offset, bytes)
    this.#bytes = offset + bytes
    return { memory: keep(new Tensor(handle, device, 'uint8', [bytes], [1])), offset }
  }

  /**
   * Returns all parts that this rank reads, once every rank has filled its own and says something of it. From then on the memory
   * lives as long as what is mapped of it.
   */
  async exchange<Facts>(device: NativeDevice, own: Facts): Promise<FilledPart<Facts>[]> {
    const parts: FilledPart<Facts>[] = []
    try {
      const all = await gatherJson(this.ranks, { bytes: this.#bytes, facts: own })
      for (const [rank, descriptor] of this.#parts) {
        const { bytes, facts } = all[rank]!
        const handle = native.mapToRead(device, descriptor, bytes, this.readers)
        const memory = keep(new Tensor(handle, device, 'uint8', [bytes], [1]))
        parts.push({ memory, facts })
      }
      return parts
    } catch (error) {
      for (const { memory } of parts) memory.dispose()
      throw error
    } finally {
      this.close()
    }
  }

  /** Where it is not needed after all. */
  close(): void {
    for (const descriptor of this.#parts.values()) closeSync(descriptor)
    this.#parts.clear()
  }

  get #own(): number {
    return this.#parts.get(this.ranks.rank)!
  }

  async #meet(key: string | null): Promise<boolean> {
    const { rank } = this.ranks
    const reasons: string[] = []
    const attempt = (work: () => void) => {
      try {
        work()
      } catch (error) {
        reasons.push(reasonOf(error))
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
    const places = await gatherJson<Place>(this.ranks, {
      key,
      pid: process.pid,
      descriptor,
      proof: proof.toString('hex'),
    })
    const isBeside = (one: Place) => key !== null && one.key === key
    for (const [other, place] of places.entries())
      if (other !== rank && isBeside(place)) attempt(() => this.#parts.set(other, opened(place, other)))
    const all = await gatherJson(this.ranks, reasons[0] ?? null)
    const without = all.findIndex((reason) => reason !== null)
    if (without >= 0) {
      if (rank === 0) warn(`rank ${without} cannot share memory with those of its machine (${all[without]})`)
      return false
    }
    const keys = places.map((place) => place.key)
    return !keys.includes(null) && new Set(keys).size < keys.length
  }
}

/** A descriptor of the part of another rank. */
function opened({ pid, descriptor, proof }: Place, rank: number): number {
  const path = `/proc/${pid}/fd/${descriptor}`
  let found: number
  try {
    found = openSync(path, 'r')
  } catch (error) {
    throw new Error(`that of rank ${rank} cannot be opened: ${reasonOf(error)}`)
  }
  const begins = Buffer.alloc(PROOF_BYTES)
  readSync(found, begins, 0, PROOF_BYTES, 0)
  if (begins.toString('hex') === proof) return found
  closeSync(found)
  throw new Error(`${path} is not that of rank ${rank}, whose processes have other numbers`)
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function warn(why: string): void {
  process.emitWarning(`Ranks of a machine do not share the memory of the base, since ${why}.`, {
    type: 'MoraWarning',
    code: 'base-not-shared',
  })
}
