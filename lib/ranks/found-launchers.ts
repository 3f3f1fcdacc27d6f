/** What of this machine can start ranks, for people. */
import { spawnSync } from 'node:child_process'

/** A command of this machine that starts ranks. */
export interface FoundLauncher {
  /** As it is called. */
  command: string
  /** What it belongs to: Open MPI, MPICH (as its kin that start processes by Hydra) or Slurm. */
  name: string
  /** Null where it does not say, as srun where it finds no cluster. */
  version: string | null
}

const KINDS = [
  { name: 'Open MPI', commands: ['mpirun', 'mpirun.openmpi'], says: /\(Open MPI\) (\S+)/, mustSay: true },
  { name: 'MPICH', commands: ['mpiexec', 'mpiexec.hydra'], says: /^HYDRA.*\n\s*Version:\s+(\S+)/, mustSay: true },
  { name: 'Slurm', commands: ['srun'], says: /slurm\S* (\S+)/, mustSay: false },
] as const

/** The first command of each kind that is found. */
export function findLaunchers(): FoundLauncher[] {
  return KINDS.flatMap(({ name, commands, says, mustSay }) => {
    for (const command of commands) {
      const { error, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8', timeout: 10_000 })
      const version = says.exec(stdout ?? '')?.[1]
      if (version !== undefined || (!mustSay && !error)) return [{ command, name, version: version ?? null }]
    }
    return []
  })
}
