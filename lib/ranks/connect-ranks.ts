import { hostname } from 'node:os'
import { atLeast, check, optionsSchema } from '../common/arguments.js'
import { RunError } from '../common/errors.js'
import { type NativeRanks, native } from '../native/addon.js'
import { allowedProcessors } from '../system/processes.js'
import { gatherJson, single } from '../tensor/ranks.js'
import type { Tensor } from '../tensor/tensor.js'
import { ConnectedRanks, type JobRanks } from './job-ranks.js'
import { type LaunchedByMpi, type LaunchedWithAddress, launched } from './launcher.js'
import { host, joinRankZero } from './rendezvous.js'
import { secretOfJob } from './secret.js'

const SECONDS = 30
const SECONDS_OF_ARRIVAL = 600

function gatherAlone(part: Tensor, all: Tensor) {
  all.copyFrom(part)
  return { wait: () => {}, done: Promise.resolve() }
}

const alone: JobRanks = {
  ...single,
  localRank: 0,
  localSize: 1,
  host: hostname(),
  threads: 0,
  sum: (values) => Promise.resolve(values),
  share: (parts) => Promise.resolve({ gather: (index, all) => gatherAlone(parts[index]!, all) }),
  deviceFor: (device = 'auto') => Promise.resolve(device),
  close: () => Promise.resolve(),
}

const connectRanksArguments = {
  options: optionsSchema('the options of connectRanks', {
    timeout: atLeast(1).optional(),
    arrival: atLeast(1).optional(),
  }),
}

/**
 * Connects this process with the others that the same launcher started: `mpirun` of Open MPI or MPICH, or `srun --mpi=pmix`; or,
 * by gloo, if RANK, WORLD_SIZE and MASTER_ADDR are set, as torchrun does, or the corresponding variables of Kubeflow, SkyPilot
 * and `srun`, and with them MORA_JOB_SECRET. A process that was started alone gets ranks of size 1, for which no library is
 * opened; so the same program runs with and without a launcher. Call it once per process.
 *
 * ```ts
 * import { connectRanks, loadModel, train } from 'node-mora'
 *
 * const ranks = await connectRanks() // one rank per process of mpirun; without it, a single rank
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf', { ranks })
 * await train(model, { data: 'train.jsonl', output: 'trained-by-ranks', maxSteps: 2, ranks }).finished
 * await ranks.close()
 * ```
 *
 * @throws UsageError if the launcher's variables are inconsistent or the secret is missing, and RunError if a library is missing
 *   or if ranks do not arrive
 */
export async function connectRanks(
  options: {
    /**
     * Seconds within which the job ends after a rank has been stopped, has ended or has lost its connection; 30 by default. A
     * rank may compute for longer.
     */
    timeout?: number
    /** Seconds within which all processes must have started, for launchers other than MPI's; 600 by default. */
    arrival?: number
  } = {},
): Promise<JobRanks> {
  check({ options }, connectRanksArguments)
  const job = launched()
  if (job === null) return alone
  const { timeout = SECONDS, arrival = SECONDS_OF_ARRIVAL } = options
  const limit = Math.round(timeout * 1000)
  const ranks = await (job.by === 'mpi' ? connectByMpi(job, limit) : connectByGloo(job, limit, arrival * 1000))
  const { localRank, localSize, sharing } = neighboursOf(ranks.rank, await gatherJson(ranks, placeOfThisProcess()))
  return new ConnectedRanks(ranks, job.localRank ?? localRank, localSize, threadsOf(sharing))
}

/** Returns a rank's share of the processors that this process may use; 0, which means all, if no other rank shares them. */
function threadsOf(sharing: number): number {
  return sharing === 1 ? 0 : Math.max(1, Math.floor(native.openDevice('cpu', 0, 0).facts().threads / sharing))
}

async function connectByMpi({ launcher, libraries, rank, size }: LaunchedByMpi, limit: number): Promise<NativeRanks> {
  const ranks = await native.connectMpi(libraries, limit)
  if (ranks.rank === rank && ranks.size === size) return ranks
  throw new RunError(
    'wrong-mpi',
    `${launcher} started this process as rank ${rank} of ${size}, but ${ranks.library} says ${ranks.rank} of ${ranks.size}: ` +
      'MORA_MPI_LIBRARY=PATH names the library that belongs to the launcher.',
  )
}

/** Connects ranks that know only the address of rank 0 and a secret; they exchange everything else there. */
async function connectByGloo(job: LaunchedWithAddress, limit: number, patience: number): Promise<NativeRanks> {
  const meet = job.rank === 0 ? host : joinRankZero
  const addresses = await meet({
    ...job,
    secret: secretOfJob(),
    patience,
    limit,
    bring: (address) => native.openGloo(address, job.rank, job.size, patience),
  })
  return await native.connectGloo(addresses, limit)
}

/** The machine and processors of a rank. */
interface Place {
  readonly machine: string
  /** The processors that it may use, in the kernel's notation: `0-3,8`. */
  readonly processors: string
}

interface Neighbours {
  /** Number among the ranks of this machine, from 0. */
  localRank: number
  /** Number of ranks on this machine. */
  localSize: number
  /** Number of these ranks that may run on this rank's processors, itself included: all, unless a launcher binds each to its own. */
  sharing: number
}

export function placeOfThisProcess(): Place {
  return { machine: hostname(), processors: allowedProcessors() }
}

/** @param places of all ranks */
export function neighboursOf(rank: number, places: readonly Place[]): Neighbours {
  const own = places[rank]!
  const ownProcessors = new Set(processorsOf(own))
  const isHere = ({ machine }: Place) => machine === own.machine
  const here = places.filter(isHere)
  return {
    localRank: places.slice(0, rank).filter(isHere).length,
    localSize: here.length,
    sharing: Math.max(1, here.filter((place) => processorsOf(place).some((one) => ownProcessors.has(one))).length),
  }
}

function processorsOf({ processors }: Place): number[] {
  return processors.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number) as [number, number?]
    return Array.from({ length: last! - first + 1 }, (_, i) => first + i)
  })
}
