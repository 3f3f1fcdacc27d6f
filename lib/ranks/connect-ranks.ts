import { hostname } from 'node:os'
import { atLeast, optional, requireOptionsOf } from '../arguments.js'
import { RunError, UsageError } from '../errors.js'
import { type NativeRanks, native } from '../native.js'
import { singleRank } from '../train/ranks.js'
import { ConnectedRanks, type JobRanks } from './connected-ranks.js'
import { type LaunchedByMpi, launched } from './launcher.js'

export interface ConnectOptions {
  /**
   * Seconds within which the job ends once a rank was stopped, has ended or has lost its connection; 30 by default. A rank may
   * compute for longer.
   */
  timeout?: number
}

const SECONDS = 30

const alone: JobRanks = {
  ...singleRank,
  localRank: 0,
  broadcast: (bytes) => Promise.resolve(bytes),
  gather: (bytes) => Promise.resolve([bytes]),
  abort: () => {},
  close: () => Promise.resolve(),
}

/**
 * Connects this process with the others that the same launcher started: `mpirun` of Open MPI or MPICH, or `srun --mpi=pmix`. A
 * process that was started alone gets ranks of size 1, for which no library is opened; so the same program runs with and without
 * a launcher. Once in a process.
 *
 * @throws UsageError where the launcher's variables make no sense, and RunError where its library is missing
 */
export async function connectRanks(options: ConnectOptions = {}): Promise<JobRanks> {
  requireOptionsOf('the options of connectRanks', options, { timeout: optional(atLeast(1)) })
  const job = launched()
  if (job === null) return alone
  if (job.by !== 'mpi') throw new UsageError('no-engine', 'RANK and WORLD_SIZE without MPI are not supported.')
  const ranks = await connectByMpi(job, options.timeout ?? SECONDS)
  return new ConnectedRanks(ranks, job.localRank ?? (await localRankOf(ranks)))
}

/**
 * UCX and Open MPI rewrite functions of the C library while they start, in order to hear of freed memory, and UCX replaces the
 * handler of faults that V8 needs for WebAssembly. A program with threads bears neither.
 */
const surroundings = { OMPI_MCA_memory: '^patcher', UCX_MEM_MMAP_HOOK_MODE: 'none', UCX_ERROR_SIGNALS: '' }

async function connectByMpi({ launcher, libraries, rank, size }: LaunchedByMpi, timeout: number): Promise<NativeRanks> {
  for (const [name, value] of Object.entries(surroundings)) process.env[name] ??= value
  const ranks = await native.connectMpi(libraries, Math.round(timeout * 1000))
  if (ranks.rank === rank && ranks.size === size) return ranks
  throw new RunError(
    'wrong-mpi',
    `${launcher} started this process as rank ${rank} of ${size}, but ${ranks.library} says ${ranks.rank} of ${ranks.size}: ` +
      'MORA_MPI_LIBRARY=PATH names the library that belongs to the launcher.',
  )
}

/** By the names of machines. */
async function localRankOf(ranks: NativeRanks): Promise<number> {
  const name = Buffer.alloc(256)
  name.write(hostname())
  const all = await ranks.gather(name)
  const before = Array.from({ length: ranks.rank }, (_, i) => all.subarray(i * name.length, (i + 1) * name.length))
  return before.filter((other) => name.equals(other)).length
}
