import { hostname } from 'node:os'
import { UsageError } from '../common/errors.js'
import { native } from '../native/addon.js'
import { type GatheringRanks, gatherJson } from '../tensor/gather-json.js'

interface GpuOfRank {
  id: string
  machine: string
  /** How many the rank sees. */
  gpus: number
}

interface Gathering extends GatheringRanks {
  readonly localRank: number
}

/** What `JobRanks.deviceFor` does. */
export async function deviceOfRank(device: string, ranks: Gathering): Promise<string> {
  const index = gpuOf(device, ranks.localRank)
  let own: GpuOfRank | null = null
  let failure: unknown
  try {
    if (index !== null) own = gpuOfRank(index)
  } catch (error) {
    failure = error // the others wait for what this rank tells
  }
  const all = await gatherJson(ranks, own)
  if (failure) throw failure
  requireOneEach(all)
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
