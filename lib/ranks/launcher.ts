/** Which launcher started this process, and as which rank: the environment tells, before any library is opened. */
import { UsageError } from '../errors.js'

export interface Launched {
  /** What connects the ranks. */
  readonly by: 'mpi' | 'tcp'
  /** As its users call it. */
  readonly launcher: string
  readonly rank: number
  readonly size: number
  /** Among the ranks of this machine; null where the launcher does not say. */
  readonly localRank: number | null
}

export interface LaunchedByMpi extends Launched {
  readonly by: 'mpi'
  /** Libraries that belong to the launcher, best first. */
  readonly libraries: readonly string[]
}

export interface LaunchedWithAddress extends Launched {
  readonly by: 'tcp'
  readonly address: string
  readonly port: number
}

const OPEN_MPI = ['libmpi.so.40', 'libmpi_abi.so.1']
/** Intel MPI, MVAPICH and Cray MPICH have the second name. */
const MPICH = ['libmpich.so.12', 'libmpi.so.12', 'libmpi_abi.so.1']

type Environment = Readonly<Record<string, string | undefined>>

interface Variables {
  readonly launcher: string
  readonly rank: string
  readonly size: string
  readonly localRank: string
  readonly libraries: readonly string[]
}

/** Variables of the launchers of MPI; the first whose rank is set counts. */
const launchersOfMpi: readonly Variables[] = [
  {
    launcher: 'mpirun of Open MPI',
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
    libraries: OPEN_MPI,
  },
  // By `srun --mpi=pmix` PMIX_RANK is set and no size with it.
  {
    launcher: 'a launcher with PMIx',
    rank: 'PMIX_RANK',
    size: 'SLURM_NTASKS',
    localRank: 'SLURM_LOCALID',
    libraries: [...OPEN_MPI, ...MPICH],
  },
  {
    launcher: 'mpiexec of MPICH',
    rank: 'PMI_RANK',
    size: 'PMI_SIZE',
    localRank: 'MPI_LOCALRANKID',
    libraries: MPICH,
  },
]

const DEFAULT_PORT = 29500

/** Null where this process is one alone, however it was started. Throws a `UsageError` where variables contradict each other. */
export function launched(environment: Environment = process.env): LaunchedByMpi | LaunchedWithAddress | null {
  const variables = launchersOfMpi.find(({ rank, size }) => isSet(environment[rank]) && isSet(environment[size]))
  const found = variables ? byMpi(variables, environment) : withAddress(environment)
  return found && found.size > 1 ? found : null
}

function byMpi({ launcher, libraries, ...names }: Variables, environment: Environment): LaunchedByMpi {
  const given = environment.MORA_MPI_LIBRARY
  const { rank, size, localRank } = placeOf(environment, names)
  return { by: 'mpi', launcher, rank, size, localRank, libraries: isSet(given) ? [given] : libraries }
}

/** As torchrun, Kubeflow and starters by hand set them. */
function withAddress(environment: Environment): LaunchedWithAddress | null {
  const { MASTER_ADDR: address, MASTER_PORT: port } = environment
  if (!isSet(environment.RANK) || !isSet(environment.WORLD_SIZE)) return null
  const place = placeOf(environment, { rank: 'RANK', size: 'WORLD_SIZE', localRank: 'LOCAL_RANK' })
  if (place.size === 1) return null
  if (!isSet(address)) {
    throw new UsageError(
      'missing-address',
      `RANK and WORLD_SIZE say that this is one of ${place.size} ranks, but MASTER_ADDR, where rank 0 is, is not set.`,
    )
  }
  return {
    by: 'tcp',
    launcher: 'RANK and WORLD_SIZE',
    ...place,
    address,
    port: isSet(port) ? wholeOf('MASTER_PORT', port, 65_535) : DEFAULT_PORT,
  }
}

function placeOf(environment: Environment, names: Pick<Variables, 'rank' | 'size' | 'localRank'>) {
  const size = wholeOf(names.size, environment[names.size]!, MOST_RANKS)
  if (size < 1) throw new UsageError('bad-value', `Expected at least 1 for ${names.size} but received ${size}.`)
  const localRank = environment[names.localRank]
  return {
    size,
    rank: wholeOf(names.rank, environment[names.rank]!, size - 1),
    localRank: isSet(localRank) ? wholeOf(names.localRank, localRank, size - 1) : null,
  }
}

/** Far more than any job has. */
const MOST_RANKS = 2 ** 20

function wholeOf(name: string, text: string, most: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value <= most) return value
  throw new UsageError('bad-value', `Expected a whole number from 0 to ${most} for ${name} but received "${text}".`)
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== ''
}
