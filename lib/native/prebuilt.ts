/**
 * Prebuilt packages: `@node-mora/linux-x64` with the addon and the libraries that it needs, and `@node-mora/linux-x64-cuda`
 * with the CUDA backend. Both are optional dependencies of the published node-mora.
 */
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { packageVersion } from '../common/package-info.js'
import { runApart } from '../system/own-process.js'

const require = createRequire(import.meta.url)

/** The package with an addon for this platform. */
export const PREBUILT_ADDON = `@node-mora/${platform()}-${arch()}`
/** The package with a CUDA backend for this platform. */
export const PREBUILT_CUDA = `${PREBUILT_ADDON}-cuda`

/** Returns the main file of a prebuilt package. Throws with the cause if it is not installed or has another version. */
export function prebuiltFile(name: string): string {
  let version: string
  try {
    version = (require(`${name}/package.json`) as { version: string }).version
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') throw new Error('not installed')
    throw error
  }
  if (version !== packageVersion()) throw new Error(`version ${version}, and version ${packageVersion()} is needed`)
  return require.resolve(name)
}

const LOADED = 'node-mora loaded it'
/** A loaded package may itself end the process, with any exit code, so only the last line counts. */
const PROBE = `
  let [says, code] = ['${LOADED}', 0]
  try { require(process.argv.at(-1)) } catch (error) { [says, code] = [error.message.split('\\n')[0], 3] }
  console.log('\\n' + says)
  process.exit(code)`

/**
 * Tries to load an addon in a child process, since one built for another machine may end the process that loads it. Throws with
 * what happened to the child.
 * @param patience milliseconds
 */
export function requireLoads(path: string, patience?: number): void {
  const ending = runApart(PROBE, path, patience)
  // No child could be started, so nothing is known.
  if (!ending) return
  const { error, status, signal, stdout } = ending
  const says = stdout.trim().split('\n').at(-1)
  if (status === 0 && says === LOADED) return
  const isLate = (error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT'
  const end = isLate ? 'did not end in time' : `ended with ${signal ?? `exit code ${status}`}`
  throw new Error((status === 3 && says) || `a process that tried to load it ${end}`)
}
