/**
 * Packages that hold what was built elsewhere: `@node-mora/linux-x64` the addon with the libraries that it needs,
 * `@node-mora/linux-x64-cuda` the CUDA backend. Both are optional dependencies of a published node-mora.
 */
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { runApart } from '../common/own-process.js'
import { packageVersion } from '../common/package-facts.js'

const require = createRequire(import.meta.url)

/** The package with an addon for this platform. */
export const PREBUILT_ADDON = `@node-mora/${platform()}-${arch()}`
/** The package with a CUDA backend for this platform. */
export const PREBUILT_CUDA = `${PREBUILT_ADDON}-cuda`

/** The file that a package is there for. Throws with the cause where it is not installed or is of another version than this. */
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
/** What a package does may end the process too, whatever the code, so the last line is what counts. */
const PROBE = `
  let [says, code] = ['${LOADED}', 0]
  try { require(process.argv.at(-1)) } catch (error) { [says, code] = [error.message.split('\\n')[0], 3] }
  console.log('\\n' + says)
  process.exit(code)`

/**
 * Loads an addon in a process of its own first: one that was built for another machine may end the process that loads it.
 * Throws with what happened to that process.
 * @param patience milliseconds
 */
export function requireLoads(path: string, patience?: number): void {
  const ending = runApart(PROBE, path, patience)
  // Where no process can be started, nothing is learnt.
  if (!ending) return
  const { error, status, signal, stdout } = ending
  const says = stdout.trim().split('\n').at(-1)
  if (status === 0 && says === LOADED) return
  const isLate = (error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT'
  const end = isLate ? 'did not end in time' : `ended with ${signal ?? `exit code ${status}`}`
  throw new Error((status === 3 && says) || `a process that was to load it ${end}`)
}
