/** This machine's launchers, and their jobs. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { binaryCandidates } from '../../lib/native/binary.js'
import { type Lack, lack, lacksBuild } from '../needs.js'
import { freePort } from './free-port.js'

type Variables = Readonly<Record<string, string>>

export interface Launcher {
  readonly name: string
  /** Whether the launcher is installed. */
  readonly isHere: boolean
  /** Whether it ends the other ranks itself as soon as one has ended, so that they may learn nothing. */
  readonly endsOthers: boolean
  /** Starts Node.js with these arguments on `size` ranks: the launcher's process, or each rank's. */
  start(size: number, argv: readonly string[], variables?: Variables): Promise<ChildProcess[]>
}

const OPEN_MPI = ['mpirun.openmpi', 'mpirun']

function mpirun(name: string, commands: readonly string[], version: RegExp, shell: readonly string[] = []): Launcher {
  const says = (command: string) => spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout ?? ''
  const command = commands.find((one) => version.test(says(one)))
  return {
    name,
    isHere: command !== undefined,
    endsOthers: true,
    async start(size, argv, variables = {}) {
      const [first, ...rest] = [...shell, command!, '-np', String(size), process.execPath, ...argv]
      return [started(first!, rest, { ...environment, ...variables })]
    },
  }
}

/** Tests run as root, on few cores, and on one machine. */
const environment = {
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_btl: '^tcp',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
  PRTE_MCA_rmaps_default_mapping_policy: ':oversubscribe',
}

const started = (command: string, argv: readonly string[], variables: Variables): ChildProcess =>
  spawn(command, argv, {
    env: { ...process.env, ...variables, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })

/** Requirements of a launcher's job: the launcher, and the command that it runs. */
export const lacksLauncher = ({ name, isHere }: Launcher): Lack => lack(name, isHere) ?? lacksBuild

export const hasGloo = binaryCandidates().some((path) => existsSync(join(dirname(path), 'mora_gloo.so')))
export const lacksGloo = lack('gloo', hasGloo)

/** Processes with torchrun's variables, each started `through` a command. */
export function byHand(
  name: string,
  address: string,
  through: (rank: number) => readonly string[] = () => [],
): Launcher {
  return {
    name,
    isHere: hasGloo,
    endsOthers: false,
    async start(size, argv, more = {}) {
      const variables = {
        ...more,
        WORLD_SIZE: String(size),
        MASTER_ADDR: address,
        MASTER_PORT: String(await freePort()),
        MORA_JOB_SECRET: randomBytes(32).toString('hex'),
      }
      return Array.from({ length: size }, (_, rank) => {
        const [command, ...rest] = [...through(rank), process.execPath, ...argv]
        return started(command!, rest, { ...variables, RANK: String(rank) })
      })
    },
  }
}

/** Open MPI's, started by a shell as its `job`, with these lines after it. */
export const openMpiOf = (lines: string): Launcher =>
  mpirun('a shell', OPEN_MPI, /Open MPI/, ['sh', '-c', `"$@" & job=$!\n${lines}`, 'sh'])

export const launchers: readonly Launcher[] = [
  mpirun('Open MPI', OPEN_MPI, /Open MPI/),
  mpirun('MPICH', ['mpirun.mpich', 'mpiexec.hydra'], /HYDRA/),
  byHand('gloo', '127.0.0.1'),
]

export interface JobEnding {
  /** The highest, where there is no launcher. */
  code: number
  /** Exit codes of the started processes, by rank if there is no launcher; null if a signal ended it. */
  codes: readonly (number | null)[]
  /** Output of all ranks and the launcher. */
  stdout: string
  stderr: string
}

/** Runs Node.js with these arguments and variables on a number of ranks. */
export async function runJob(
  launcher: Launcher,
  size: number,
  argv: readonly string[],
  variables: Variables = {},
): Promise<JobEnding> {
  return collected(await launcher.start(size, argv, variables))
}

/** How processes that were started together end. */
export async function collected(children: readonly ChildProcess[]): Promise<JobEnding> {
  const codes: (number | null)[] = children.map(() => null)
  const ending = { code: 0, codes, stdout: '', stderr: '' }
  await Promise.all(
    children.map((child, rank) => {
      for (const stream of ['stdout', 'stderr'] as const) {
        child[stream]!.on('data', (text) => {
          ending[stream] += text
        })
      }
      return new Promise<void>((resolve) =>
        child.on('close', (code) => {
          codes[rank] = code
          ending.code = Math.max(ending.code, code ?? 1)
          // A stopped rank stays until its platform ends it, as torchrun and Kubernetes do.
          if (code !== 0) setTimeout(() => children.map((other) => other.kill('SIGKILL')), 10_000).unref()
          resolve()
        }),
      )
    }),
  )
  return ending
}
