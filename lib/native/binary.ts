/** Finds and loads the compiled addon: one built here, else that of the platform's package. */
import { createRequire } from 'node:module'
import { isAbsolute, join, resolve } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { MoraError, quoted } from '../common/errors.js'
import { packageFolder } from '../common/package-info.js'
import { asMessage } from '../common/printable.js'
import { whyAbsent } from './install-script.js'
import { addonRemedy, installCommand, PREBUILT_ADDON, PREBUILT_CUDA, prebuiltFile, requireLoads } from './prebuilt.js'
import { requireProcessor } from './processor.js'

const require = createRequire(import.meta.url)

interface Binary {
  openDevice?: unknown
  setErrorClass?(errorClass: new (code: string, message: string, facts: NativeErrorOptions) => Error): void
  /** Sets the path of a CUDA backend that is not beside the addon, or, with an empty path, why there is none and what to do. */
  setCudaLibrary?(path: string, problem: string, remedy: string): void
  /**
   * Stops every device and waits for running operations. For the end of the process, with its exit code: ranks that are still
   * connected leave the job, or end all of it if this one has failed.
   */
  shutdown?(exitCode: number): void
}

interface NativeErrorOptions extends ErrorOptions {
  /** Advice for the user, which the message includes. */
  remedy?: string
  /** The message without the remedy, if it has one. */
  problem?: string
}

/** An error of the native core: invalid arguments of an operation, a failure on a device, no memory, or no addon. */
export class NativeError extends MoraError {
  readonly problem: string
  readonly remedy: string | null

  constructor(code: string, message: string, { remedy, problem, ...options }: NativeErrorOptions = {}) {
    super(code, message, options)
    this.problem = problem === undefined ? this.message : asMessage(problem)
    this.remedy = remedy ?? null
  }
}

let loaded: object | undefined
let loadedFrom = ''

/**
 * Lists where the addon may be, best first: paths, and the name of a package. `MORA_BINARY` (a file) or
 * `MORA_BUILD_FOLDER` exclude all others.
 */
export function binaryCandidates(environment: NodeJS.ProcessEnv = process.env): string[] {
  const { MORA_BUILD = '' } = environment
  if (!['', 'off', 'required'].includes(MORA_BUILD)) {
    const ways = 'off, required or nothing; MORA_BUILD_FOLDER names a folder of addons'
    throw new NativeError('no-binary', `Expected MORA_BUILD to be ${ways}, but it is ${quoted(MORA_BUILD)}.`)
  }
  if (environment.MORA_BINARY) return [resolve(environment.MORA_BINARY)]
  const inBuild = (folder: string) =>
    ['Release', 'RelWithDebInfo', 'Debug'].map((configuration) => join(folder, configuration, 'mora.node'))
  if (environment.MORA_BUILD_FOLDER) return inBuild(resolve(packageFolder, environment.MORA_BUILD_FOLDER))
  return [...inBuild(join(packageFolder, 'build')), PREBUILT_ADDON]
}

/**
 * Loads the addon once. Throws a `NativeError` (`no-binary`) that lists each candidate with the reason why it was not used,
 * and the command that gets one. With `candidates` it searches again even if it is loaded.
 */
export function loadBinary(candidates?: readonly string[]): object {
  if (loaded && !candidates) return loaded // the fast path of every operation
  const causes: string[] = []
  for (const candidate of candidates ?? binaryCandidates()) {
    try {
      const prebuilt = !isAbsolute(candidate)
      const path = usableFile(candidate, prebuilt)
      const binary = require(path) as Binary | null
      if (typeof binary?.openDevice !== 'function') throw new Error("it is not node-mora's addon")
      binary.setErrorClass?.(NativeError)
      binary.setCudaLibrary?.(...cudaLibrary(prebuilt))
      // An operation that runs while C++ libraries are unloaded crashes the process.
      if (isMainThread) process.once('exit', (exitCode) => binary.shutdown?.(exitCode))
      loaded = binary
      loadedFrom = path
      return binary
    } catch (error) {
      causes.push(`${candidate} (${isAbsent(error) ? whyAbsent(candidate) : causeOf(error)})`)
    }
  }
  const problem = `The native addon could not be loaded; tried ${causes.join(', ')}.`
  const remedy = addonRemedy()
  throw new NativeError('no-binary', `${problem} Get one with: ${remedy}`, { problem, remedy })
}

/**
 * Returns the file of a candidate. Throws with the cause if this processor cannot run it or, with `apart`, if another process that
 * loads it fails.
 */
export function usableFile(candidate: string, apart: boolean): string {
  const path = isAbsolute(candidate) ? candidate : prebuiltFile(candidate)
  if (apart) requireLoads(path)
  requireProcessor(path)
  return path
}

/** Makes an object of the same surface take the addon's place in this thread, from here on. */
export function replaceBinary(binary: object): void {
  loaded = binary
}

/** Returns the path of the addon's file. */
export function binaryPath(): string {
  loadBinary()
  return loadedFrom
}

/** Finds the CUDA backend of a prebuilt addon. An addon built here itself reports why it has none. */
function cudaLibrary(prebuilt: boolean): [path: string, problem: string, remedy: string] {
  try {
    return [prebuiltFile(PREBUILT_CUDA), '', '']
  } catch (error) {
    if (!prebuilt) return ['', '', '']
    const problem = `the CUDA backend is a package of its own, ${PREBUILT_CUDA} (${causeOf(error)})`
    return ['', problem, `run "${installCommand(PREBUILT_CUDA)}"`]
  }
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
}

function causeOf(error: unknown): string {
  return (error as Error).message.split('\n')[0] ?? 'unknown'
}
