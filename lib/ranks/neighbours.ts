/** Which ranks share a machine, and its processors. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

const NAME_BYTES = 256
/** Bits for as many processors as Linux can have. */
const PROCESSOR_BYTES = 1024
const BYTES = NAME_BYTES + PROCESSOR_BYTES

export interface Neighbours {
  /** Among the ranks of this machine, from 0. */
  localRank: number
  /** Ranks of this machine. */
  localSize: number
  /** Those of them that may run on a processor of this one's, with itself: all, unless a launcher binds each to its own. */
  sharing: number
}

/** What a rank tells the others of where it runs. */
export function placeOfThisProcess(): Uint8Array {
  const [, list = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  return placeOf(hostname(), list)
}

/** @param processors as the kernel lists them: `0-3,8` */
export function placeOf(machine: string, processors: string): Uint8Array {
  const place = Buffer.alloc(BYTES)
  place.write(machine, 0, NAME_BYTES)
  for (const range of processors.split(',')) {
    const [first, last = first] = range.split('-').map(Number)
    for (let i = first!; i <= Math.min(last!, 8 * PROCESSOR_BYTES - 1); i++) {
      place[NAME_BYTES + (i >> 3)]! |= 1 << (i & 7)
    }
  }
  return place
}

/** @param places of all ranks, one after the other */
export function neighboursOf(rank: number, places: Uint8Array): Neighbours {
  const all = Array.from({ length: places.length / BYTES }, (_, i) => places.subarray(i * BYTES, (i + 1) * BYTES))
  const own = all[rank]!
  const isHere = (place: Uint8Array) => Buffer.compare(place.subarray(0, NAME_BYTES), own.subarray(0, NAME_BYTES)) === 0
  const meets = (place: Uint8Array) => place.subarray(NAME_BYTES).some((bits, i) => (bits & own[NAME_BYTES + i]!) !== 0)
  const here = all.filter(isHere)
  return {
    localRank: all.slice(0, rank).filter(isHere).length,
    localSize: here.length,
    sharing: Math.max(1, here.filter(meets).length),
  }
}
