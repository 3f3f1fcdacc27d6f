/** A native core built with a sanitizer, for tests of `npm run test:long`. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { lacksLinux, lacksLong } from './needs.js'
import { run } from './simt/programs.js'

const root = join(import.meta.dirname, '..')

const sanitizers = {
  address: {
    flag: 'address,undefined',
    folder: 'build-asan',
    library: 'libasan.so',
    // Memory that Node.js never frees is not our leak, and a large quarantine looks like growth.
    options: { ASAN_OPTIONS: 'detect_leaks=0:quarantine_size_mb=4' },
  },
  thread: {
    flag: 'thread',
    folder: 'build-tsan',
    library: 'libtsan.so',
    options: { TSAN_OPTIONS: `suppressions=${join(import.meta.dirname, 'tsan-suppressions.txt')}:halt_on_error=1` },
  },
} as const

export type Sanitizer = keyof typeof sanitizers

/** Timeout: a build and its tests take minutes. */
export const lacksSanitizers = lacksLong ?? lacksLinux

/** Builds the addon with a sanitizer if it has changed, and returns the environment of a Node.js that uses it. */
export async function sanitizedEnvironment(sanitizer: Sanitizer): Promise<Record<string, string>> {
  const { flag, folder, library, options } = sanitizers[sanitizer]
  const build = [join(root, 'scripts', 'build-native.mjs'), `--sanitize=${flag}`, '--if-needed']
  const { succeeds, text } = await run(process.execPath, build, { MORA_BUILD_CUDA: 'OFF' })
  if (!succeeds) throw new Error(`The addon could not be built with ${flag}: ${text}`)
  const preloaded = execFileSync('c++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim()
  return { ...options, MORA_BUILD_FOLDER: folder, LD_PRELOAD: preloaded }
}
