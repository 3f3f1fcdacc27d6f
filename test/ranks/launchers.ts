/** Launchers of MPI on this machine, and jobs of theirs. */
import { spawn, spawnSync } from 'node:child_process'

export interface Launcher {
  readonly name: string
  /** Null where it is not installed. */
  readonly command: string | null
}

function find(name: string, commands: readonly string[], version: RegExp): Launcher {
  const says = (command: string) => spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout ?? ''
  return { name, command: commands.find((command) => version.test(says(command))) ?? null }
}

export const launchers: readonly Launcher[] = [
  find('Open MPI', ['mpirun.openmpi', 'mpirun'], /Open MPI/),
  find('MPICH', ['mpirun.mpich', 'mpiexec.hydra'], /HYDRA/),
]

/** Tests run as root, on few cores, and on one machine. */
const environment = {
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_btl: '^tcp',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
  PRTE_MCA_rmaps_default_mapping_policy: ':oversubscribe',
  NO_COLOR: '1',
}

export interface JobEnding {
  code: number | null
  /** Of all ranks and of the launcher. */
  stdout: string
  stderr: string
}

/** Runs Node.js with these arguments on so many ranks. */
export function runJob(launcher: Launcher, size: number, argv: readonly string[]): Promise<JobEnding> {
  const child = spawn(launcher.command!, ['-np', String(size), process.execPath, ...argv], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })))
}
