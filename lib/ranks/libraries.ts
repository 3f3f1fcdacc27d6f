/** What of this machine can connect ranks, for people. */

import { runApart } from '../common/own-process.js'
import { binaryPath } from '../native/binary.js'
import { MPICH, OPEN_MPI, STANDARD_MPI } from './launcher.js'

export interface RanksLibrary {
  /** As it calls itself: Open MPI, MPICH or one of its kin; or gloo. An MPI of the standard ABI has that in brackets. */
  name: string
  /** `unknown` where it does not say. */
  version: string
}

/**
 * Each that is found, MPI first. They are opened in processes of their own: the functions of one MPI would be taken for those
 * of the next, and of the one that this process may connect with.
 */
export function findRanksLibraries(
  libraries: readonly (readonly string[])[] = [OPEN_MPI, MPICH, [STANDARD_MPI]],
): RanksLibrary[] {
  const { MORA_MPI_LIBRARY: given } = process.env
  const found = (given ? [[given]] : libraries).map((names) => {
    const text = told(`console.log(require(process.argv.at(-1)).mpiVersion(${JSON.stringify(names)}))`)
    return text === null ? null : fromVersionText(text, names.includes(STANDARD_MPI) ? ' (standard ABI)' : '')
  })
  const gloo = told(`console.log('gloo', require(process.argv.at(-1)).glooVersion())`)
  return [...found, gloo === null ? null : fromVersionText(gloo)].filter((one) => one !== null)
}

/** The last line that a script prints with the addon's path as its last argument; null where it fails. */
function told(script: string): string | null {
  const ending = runApart(script, binaryPath())
  return ending?.status === 0 ? ending.stdout.trim().split('\n').at(-1) || null : null
}

/** `Open MPI v5.0.7, package: …`, `MPICH Version:   4.2.1`, `Intel(R) MPI Library 2021.11 for …`. */
export function fromVersionText(text: string, kind = ''): RanksLibrary {
  const [, name, version] = /^(.*?)\s*(?:\bversion\s*:?)?\s*\bv?(\d+(?:\.\w+)+)/i.exec(text) ?? []
  return { name: (name || text) + kind, version: version ?? 'unknown' }
}
