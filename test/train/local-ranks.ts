/** Ranks in one process: sums go from rank 0 upwards, so that every rank gets the same bits. */

import type { JobRanks } from '../../lib/ranks/job-ranks.js'
import type { Ranks, WritableValues } from '../../lib/tensor/ranks.js'
import { rankFailure } from '../../lib/tensor/ranks.js'
import { keep } from '../../lib/tensor/scope.js'
import type { ShardRanks } from '../../lib/tensor/shards.js'
import type { Tensor } from '../../lib/tensor/tensor.js'

/** A barrier at which ranks exchange data. */
class Meeting {
  #brought = new Map<number, unknown>()
  #leave: { resolve: (all: unknown[]) => void; reject: (error: Error) => void }[] = []
  #failure: Error | null = null

  constructor(private readonly size: number) {}

  /** The data of all ranks, in order. */
  bring<Brought>(rank: number, brought: Brought): Promise<Brought[]> {
    if (this.#failure) return Promise.reject(this.#failure)
    if (this.#brought.has(rank)) throw new Error(`Rank ${rank} came twice.`)
    this.#brought.set(rank, brought)
    const all = new Promise<Brought[]>((resolve, reject) =>
      this.#leave.push({ resolve: resolve as (all: unknown[]) => void, reject }),
    )
    if (this.#brought.size === this.size) {
      const inOrder = Array.from({ length: this.size }, (_, i) => this.#brought.get(i))
      const leave = this.#leave
      this.#brought = new Map()
      this.#leave = []
      for (const { resolve } of leave) resolve(inOrder)
    }
    return all
  }

  /** No rank comes any more. */
  end(failure: Error): void {
    this.#failure ??= failure
    for (const { reject } of this.#leave) reject(this.#failure)
    this.#leave = []
  }
}

type Sums = { length: number; [i: number]: number }

/** Adds up lists of the same length, each as it is stored. */
function added<Values extends Sums>(into: Values, lists: readonly Sums[]): Values {
  for (const list of lists) {
    if (list.length !== into.length) throw new Error(`Ranks brought ${list.length} and ${into.length} values.`)
    for (let i = 0; i < into.length; i++) into[i]! += list[i]!
  }
  return into
}

/**
 * Ranks of one process with the interface of a job's ranks; they record what each of them gathers of a model, and how much it
 * had gathered when it sent gradients.
 */
export type LocalRanks = Ranks &
  ShardRanks &
  Pick<JobRanks, 'deviceFor'> & { readonly gathered: number[]; readonly sums: number[] }

/** @param hosts the machine of each rank; by default a separate one */
export function localRanks(size: number, hosts: readonly string[] = []): LocalRanks[] {
  const meeting = new Meeting(size)
  const last = Array.from({ length: size }, () => Promise.resolve())
  return Array.from({ length: size }, (_, rank) => ({
    gathered: [] as number[],
    sums: [] as number[],
    host: hosts[rank] ?? `host ${rank}`,
    async gather(bytes: Uint8Array) {
      return meeting.bring(rank, bytes)
    },
    async broadcast(bytes: Uint8Array, from = 0) {
      return (await meeting.bring(rank, bytes))[from]!
    },
    async share(parts: readonly Tensor[]) {
      const all = await meeting.bring(rank, parts)
      const { gathered } = this
      return {
        gather(index: number, whole: Tensor) {
          gathered.push(index)
          for (const [from, ofRank] of all.entries()) {
            const part = ofRank[index]!
            using target = keep(whole.view(part.shape, [1], from * part.elements))
            target.copyFrom(part)
          }
          return { wait: () => {}, done: Promise.resolve() }
        },
      }
    },
    rank,
    size,
    sumGradients(gradients: readonly WritableValues[]) {
      this.sums.push(this.gathered.length)
      const sum = async () => {
        const own = await Promise.all(gradients.map((gradient) => gradient.data() as Promise<Float32Array>))
        const all = await meeting.bring(rank, own)
        for (const [i, gradient] of gradients.entries()) {
          const values = all.map((ofRank) => ofRank[i]!)
          gradient.assign(added(new Float32Array(own[i]!.length), values))
        }
      }
      last[rank] = last[rank]!.then(sum)
      return last[rank]
    },
    deviceFor: async (device = 'auto') => device,
    async barrier() {
      await meeting.bring(rank, null)
    },
    abort: (reason) => meeting.end(rankFailure(rank, reason)),
  }))
}
