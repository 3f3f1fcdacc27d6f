/** Finds and loads the compiled addon. */
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { MoraError } from './errors.js'
import { packageFolder } from './package-facts.js'

/** What builds the addon, for messages. */
export const BUILD_COMMAND = 'npm run build:native'

const require = createRequire(import.meta.url)

interface Binary {
  setErrorClass?(errorClass: new (code: string, message: string) => Error): void
}

/** An error of the native core: wrong arguments of an operation, a failure on a device, no memory. */
export class NativeError extends MoraError {}

let loaded: object | undefined

/** Where the addon may lie, best first. `MORA_BINARY` (a file) or `MORA_BUILD` (a build folder) allow no other. */
export function binaryCandidates(environment: NodeJS.ProcessEnv = process.env): string[] {
  if (environment.MORA_BINARY) return [resolve(environment.MORA_BINARY)]
  const inBuild = (folder: string) =>
    ['Release', 'RelWithDebInfo', 'Debug'].map((configuration) => join(folder, configuration, 'mora.node'))
  if (environment.MORA_BUILD) return inBuild(resolve(packageFolder, environment.MORA_BUILD))
  return inBuild(join(packageFolder, 'build'))
}

/**
 * Loads the addon once. Throws a `MoraError` (`no-binary`) that lists each path tried with its cause and the command
 * that builds it. `reload` looks again although it is loaded.
 */
export function loadBinary(candidates = binaryCandidates(), { reload = false } = {}): object {
  if (loaded && !reload) return loaded
  // OpenMP's threads spin for milliseconds at every barrier by default, which starves whoever else uses the cores. It reads
  // this when it is loaded, which is now.
  process.env.GOMP_SPINCOUNT ??= '30000'
  const causes: string[] = []
  for (const path of candidates) {
    try {
      const binary = require(path) as Binary
      binary.setErrorClass?.(NativeError)
      loaded = binary
      return binary
    } catch (error) {
      causes.push(`${path} (${causeOf(error)})`)
    }
  }
  throw new MoraError(
    'no-binary',
    `The native addon could not be loaded; tried ${causes.join(', ')}. Build it with: cd ${packageFolder} && ${BUILD_COMMAND}`,
  )
}

function causeOf(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return 'not there'
  return (error as Error).message.split('\n')[0] ?? 'unknown'
}
