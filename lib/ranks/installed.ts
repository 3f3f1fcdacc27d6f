/** Libraries and launchers on this machine that can connect or start ranks, for `mora doctor`. */
import { spawnSync } from 'node:child_process'
import { binaryPath } from '../native/binary.js'
import { runApart } from '../system/own-process.js'
import { MPICH, OPEN_MPI, STANDARD_MPI } from './launcher.js'

/**
 * Returns each library that is found, MPI first. Each is opened in a process of its own: otherwise the functions of one MPI
 * would be mistaken for the functions of the next, or of the MPI that this process may connect with.
 */
export function findRanksLibraries(
  libraries: readonly (readonly string[])[] = [OPEN_MPI, MPICH, [STANDARD_MPI]],
): { name: string; version: string }[] {
  const { MORA_MPI_LIBRARY: given } = process.env
  const found = (given ? [[given]] : libraries).map((names) => {
    const text = lastLineOf(`console.log(require(process.argv.at(-1)).mpiVersion(${JSON.stringify(names)}))`)
    return text === null ? null : fromVersionText(text, names.includes(STANDARD_MPI) ? ' (standard ABI)' : '')
  })
  const gloo = lastLineOf(`console.log('gloo', require(process.argv.at(-1)).glooVersion())`)
  return [...found, gloo === null ? null : fromVersionText(gloo)].filter((one) => one !== null)
}

/** Runs a script with the addon's path as its last argument; returns the last line that it prints, or null if it fails. */
function lastLineOf(script: string): string | null {
  const ending = runApart(script, binaryPath())
  return ending?.status === 0 ? ending.stdout.trim().split('\n').at(-1) || null : null
}

/** Parses `Open MPI v5.0.7, package: …`, `MPICH Version:   4.2.1`, `Intel(R) MPI Library 2021.11 for …`. */
export function fromVersionText(text: string, kind = ''): { name: string; version: string } {
  const [, name, version] = /^(.*?)\s*(?:\bversion\s*:?)?\s*\bv?(\d+(?:\.\w+)+)/i.exec(text) ?? []
  return { name: (name || text) + kind, version: version ?? 'unknown' }
}

const KINDS = [
  { name: 'Open MPI', commands: ['mpirun', 'mpirun.openmpi'], says: /\(Open MPI\) (\S+)/, mustSay: true },
  { name: 'MPICH', commands: ['mpiexec', 'mpiexec.hydra'], says: /^HYDRA.*\n\s*Version:\s+(\S+)/, mustSay: true },
  { name: 'Slurm', commands: ['srun'], says: /slurm\S* (\S+)/, mustSay: false },
] as const

/** Returns the first command of each kind that is found; `version` is null if it reports none, as srun without a cluster. */
export function findLaunchers(): { command: string; name: string; version: string | null }[] {
  return KINDS.flatMap(({ name, commands, says, mustSay }) => {
    for (const command of commands) {
      const { error, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8', timeout: 10_000 })
      const version = says.exec(stdout ?? '')?.[1]
      if (version !== undefined || (!mustSay && !error)) return [{ command, name, version: version ?? null }]
    }
    return []
  })
}
