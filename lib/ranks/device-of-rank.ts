import { hostname } from 'node:os'
import { UsageError } from '../errors.js'
import { native } from '../native.js'

/** The length of what a rank tells the others of its GPU. */
const BYTES = 512

interface GpuOfRank {
  id: string
  machine: string
  /** How many the rank sees. */
  gpus: number
}

interface Gathering {
  readonly localRank: number
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
}

/** What `JobRanks.deviceFor` does. */
export async function deviceOfRank(device: string, ranks: Gathering): Promise<string> {
  const index = gpuOf(device, ranks.localRank)
  const own = Buffer.alloc(BYTES)
  let failure: unknown
  try {
    if (index !== null) own.write(JSON.stringify(gpuOfRank(index)))
  } catch (error) {
    failure = error // the others wait for what this rank tells
  }
  const all = (await ranks.gather(own)).map((bytes) => Buffer.from(bytes).toString('utf8').replace(/\0+$/, ''))
  if (failure) throw failure
  requireOneEach(all.map((text) => (text ? JSON.parse(text) : null)))
  return index === null ? device : `cuda:${index}`
}

/** Null where it computes on the CPU, or where loading a model will say what is wrong. */
function gpuOf(device: string, localRank: number): number | null {
  const [, kind, index] = /^(auto|cuda)(?::(\d+))?$/.exec(device) ?? []
  const count = kind === undefined ? 0 : native.deviceCount('cuda')
  if (index !== undefined) return Number(index) < count ? Number(index) : null
  return count === 0 ? null : localRank % count
}

function gpuOfRank(index: number): GpuOfRank {
  const { id } = native.openDevice('cuda', index, 0).facts()
  return { id, machine: hostname().slice(0, 64), gpus: native.deviceCount('cuda') }
}

function requireOneEach(all: readonly (GpuOfRank | null)[]): void {
  for (const [rank, own] of all.entries()) {
    const first = all.findIndex((other) => own !== null && other?.id === own.id)
    if (own === null || first === rank) continue
    const { machine, gpus, id } = own
    throw new UsageError(
      'shared-gpu',
      `Ranks ${first} and ${rank} would share the GPU ${id}, but each needs one of its own, and of ${machine} they see ` +
        `${gpus}: start no more ranks on a machine than it has GPUs, or give them the device cpu.`,
    )
  }
}
