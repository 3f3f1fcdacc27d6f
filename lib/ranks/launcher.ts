/** Determines from the environment which launcher started this process, and as which rank, before any library is opened. */
import { badValue } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'

interface Launched {
  /** Usual name. */
  readonly launcher: string
  readonly rank: number
  readonly size: number
  /** Number among the ranks of this machine; null if the launcher does not set it. */
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

/** File names of libraries. */
export const OPEN_MPI: readonly string[] = ['libmpi.so.40']
/** The second is that of Intel MPI, MVAPICH and Cray MPICH. */
export const MPICH: readonly string[] = ['libmpich.so.12', 'libmpi.so.12']
export const STANDARD_MPI = 'libmpi_abi.so.1'

type Environment = Readonly<Record<string, string | undefined>>

interface Variables {
  readonly launcher: string
  readonly rank: string
  readonly size: string
  readonly localRank: string
  readonly libraries: readonly string[]
}

/** The variables of MPI's launchers; the first whose rank is set applies. */
const launchersOfMpi: readonly Variables[] = [
  {
    launcher: 'mpirun of Open MPI',
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
    libraries: [...OPEN_MPI, STANDARD_MPI],
  },
  // `srun --mpi=pmix` sets PMIX_RANK, but no size.
  {
    launcher: 'a launcher with PMIx',
    rank: 'PMIX_RANK',
    size: 'SLURM_NTASKS',
    localRank: 'SLURM_LOCALID',
    libraries: [...OPEN_MPI, STANDARD_MPI, ...MPICH],
  },
  {
    launcher: 'mpiexec of MPICH',
    rank: 'PMI_RANK',
    size: 'PMI_SIZE',
    localRank: 'MPI_LOCALRANKID',
    libraries: [...MPICH, STANDARD_MPI],
  },
]

const DEFAULT_PORT = 29500

/**
 * Returns how this process was launched; null for a single process. Throws a `UsageError` if variables contradict each other.
 */
export function launched(environment: Environment = process.env): LaunchedByMpi | LaunchedWithAddress | null {
  const variables = launchersOfMpi.find(({ rank, size }) => environment[rank] && environment[size])
  const found = variables ? byMpi(variables, environment) : withAddress(environment)
  return found && found.size > 1 ? found : null
}

function byMpi({ launcher, libraries, ...names }: Variables, environment: Environment): LaunchedByMpi {
  const { MORA_MPI_LIBRARY: given } = environment
  return { by: 'mpi', launcher, ...placeOf(environment, names), libraries: given ? [given] : libraries }
}

interface WithAddress {
  readonly launcher: string
  /** The variable that identifies this launcher. */
  readonly sign: string
  place(environment: Environment): Place
  /** Returns the address of rank 0 if MASTER_ADDR is not set; null if the launcher has none. */
  address(environment: Environment): string | null
  port?(environment: Environment): number
}

/** Launchers that set ranks and an address; the first whose sign is set applies. */
const launchersWithAddress: readonly WithAddress[] = [
  {
    launcher: 'RANK and WORLD_SIZE',
    sign: 'RANK',
    place: (environment) => placeOf(environment, { rank: 'RANK', size: 'WORLD_SIZE', localRank: 'LOCAL_RANK' }),
    address: () => null,
  },
  {
    launcher: 'Kubeflow (PET_NODE_RANK)',
    sign: 'PET_NODE_RANK',
    place: (environment) =>
      placeByNode(environment, { node: 'PET_NODE_RANK', nodes: 'PET_NNODES', ofNode: 'PET_NPROC_PER_NODE' }),
    address: ({ PET_MASTER_ADDR: address }) => address ?? null,
    port: ({ PET_MASTER_PORT: port }) => (port ? wholeOf('PET_MASTER_PORT', port, 0, 65_535) : DEFAULT_PORT),
  },
  {
    launcher: 'SkyPilot',
    sign: 'SKYPILOT_NODE_RANK',
    place: (environment) => placeByNode(environment, { node: 'SKYPILOT_NODE_RANK', nodes: 'SKYPILOT_NUM_NODES' }),
    address: ({ SKYPILOT_NODE_IPS: addresses }) => addresses?.trim().split(/\s+/)[0] || null,
  },
  {
    launcher: 'srun',
    // A script of sbatch has SLURM_PROCID and SLURM_NTASKS too, but is a single process.
    sign: 'SLURM_STEP_NUM_TASKS',
    place: (environment) =>
      placeOf(environment, { rank: 'SLURM_PROCID', size: 'SLURM_STEP_NUM_TASKS', localRank: 'SLURM_LOCALID' }),
    address: ({ SLURM_STEP_NODELIST, SLURM_JOB_NODELIST }) => firstHost(SLURM_STEP_NODELIST ?? SLURM_JOB_NODELIST),
    // Two jobs may share a machine.
    port: ({ SLURM_JOB_ID: job }) => DEFAULT_PORT + (Number.parseInt(job ?? '', 10) % 1000 || 0),
  },
]

function withAddress(environment: Environment): LaunchedWithAddress | null {
  const found = launchersWithAddress.find(({ sign }) => environment[sign])
  if (!found || (found.sign === 'RANK' && !environment.WORLD_SIZE)) return null
  const place = found.place(environment)
  if (place.size === 1) return null
  const { MASTER_ADDR: given, MASTER_PORT: port } = environment
  const address = given || found.address(environment)
  if (!address) {
    throw new UsageError(
      'missing-address',
      `According to ${found.launcher}, this is one of ${place.size} ranks, but MASTER_ADDR, the address of rank 0, is not set.`,
    )
  }
  return {
    by: 'tcp',
    launcher: found.launcher,
    ...place,
    address,
    port: port ? wholeOf('MASTER_PORT', port, 0, 65_535) : (found.port?.(environment) ?? DEFAULT_PORT),
  }
}

/** Returns the first host of a list: n03 for `n[03-07,9],m1`. */
function firstHost(list: string | undefined): string | null {
  const [, name, inBrackets, after] = /^([^[,]*)(?:\[(\w+)[^\]]*\]([^,]*))?/.exec(list ?? '') ?? []
  return `${name ?? ''}${inBrackets ?? ''}${after ?? ''}` || null
}

type Place = Pick<Launched, 'rank' | 'size' | 'localRank'>

/**
 * Returns the rank for launchers that only number machines. LOCAL_RANK and LOCAL_WORLD_SIZE number the processes of a machine,
 * which has one process if they are not set.
 */
function placeByNode(environment: Environment, names: { node: string; nodes: string; ofNode?: string }): Place {
  const nodes = wholeOf(names.nodes, environment[names.nodes] ?? '', 1, MOST_RANKS)
  const node = wholeOf(names.node, environment[names.node]!, 0, nodes - 1)
  const { LOCAL_RANK: local } = environment
  const nameOfNode = environment.LOCAL_WORLD_SIZE ? 'LOCAL_WORLD_SIZE' : names.ofNode
  const ofNode = environment[nameOfNode ?? ''] ?? ''
  // torchrun also takes words, such as auto.
  const processes = /^\d+$/.test(ofNode)
    ? Math.max(1, wholeOf(nameOfNode!, ofNode, 0, Math.floor(MOST_RANKS / nodes)))
    : 1
  if (processes > 1 && !local) {
    throw new UsageError(
      'missing-rank',
      `${nameOfNode} says that a machine has ${processes} processes, but LOCAL_RANK, which of them this is, is not set.`,
    )
  }
  const localRank = local ? wholeOf('LOCAL_RANK', local, 0, processes - 1) : 0
  return { size: nodes * processes, rank: node * processes + localRank, localRank }
}

function placeOf(environment: Environment, names: Pick<Variables, 'rank' | 'size' | 'localRank'>): Place {
  const size = wholeOf(names.size, environment[names.size]!, 1, MOST_RANKS)
  const localRank = environment[names.localRank]
  return {
    size,
    rank: wholeOf(names.rank, environment[names.rank] ?? '', 0, size - 1),
    localRank: localRank ? wholeOf(names.localRank, localRank, 0, size - 1) : null,
  }
}

/** Far more ranks than any job has; rank 0 takes some memory for each pair of them. */
const MOST_RANKS = 2 ** 12

function wholeOf(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw badValue(name, `a whole number from ${least} to ${most}`, text)
}
