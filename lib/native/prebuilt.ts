/**
 * Prebuilt packages: `@node-mora/linux-x64` with the addon and the libraries that it needs, an optional dependency of the
 * published node-mora, and `@node-mora/linux-x64-cuda` with the CUDA backend.
 */
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { isPublishedWith, packageVersion } from '../common/package-info.js'
import { runApart } from '../system/own-process.js'
import { isLinux } from '../system/platform.js'
import { addCommand, compileRemedy } from './install-script.js'

const require = createRequire(import.meta.url)

/** The package with an addon for this platform. */
export const PREBUILT_ADDON = `@node-mora/${platform()}-${arch()}`
/** The package with a CUDA backend for this platform. */
export const PREBUILT_CUDA = `${PREBUILT_ADDON}-cuda`

/** Returns the main file of a prebuilt package. Throws with the cause if it is not installed or has another version. */
export function prebuiltFile(name: string): string {
  const version = installedVersion(name)
  if (version === null) throw new Error('not installed')
  if (version !== packageVersion()) throw new Error(`version ${version}, and version ${packageVersion()} is needed`)
  return require.resolve(name)
}

function installedVersion(name: string): string | null {
  try {
    return (require(`${name}/package.json`) as { version: string }).version
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return null
    throw error
  }
}

/** Returns the command that installs a prebuilt package in the version that fits. */
export const installCommand = (name: string) => `${addCommand()} ${name}@${packageVersion()}`

/**
 * Returns what a user without an addon can do: install the platform's package if there is one and it is absent or does not fit,
 * else compile.
 */
export function addonRemedy(): string {
  const compile = compileRemedy()
  const fits = installedVersion(PREBUILT_ADDON) === packageVersion()
  if (fits || !isPublishedWith(PREBUILT_ADDON) || isMusl()) return compile
  return `${installCommand(PREBUILT_ADDON)} (or, with a compiler: ${compile})`
}

/** Whether Node.js runs with musl, where the packages for glibc are not installed. */
function isMusl(): boolean {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return isLinux && header.glibcVersionRuntime === undefined
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
