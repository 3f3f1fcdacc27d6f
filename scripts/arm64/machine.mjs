/** Running things on arm64, by qemu. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const inRoot = (...names) => join(fileURLToPath(new URL('../..', import.meta.url)), ...names)
export const node = inRoot('scripts', 'arm64', 'node.sh')
/** The packages of Debian 13, which it was built with, and the C and C++ libraries of Debian 12. */
export const sysroot = inRoot('build', 'arm64', 'sysroot')
export const older = inRoot('build', 'arm64', 'older')
export const addon = inRoot('build-arm64', 'Release', 'mora.node')

/** What the environment says of other addons, and of how much is tested, does not count here. */
const { MORA_BINARY, MORA_BUILD, MORA_TEST_LONG, ...inherited } = process.env

/** Runs a program and returns what it printed. What it says on stderr is seen; if it fails the rest too, and this throws. */
export function run(program, programArguments, environment = {}, folder = inRoot()) {
  const { status, signal, stdout, error } = spawnSync(program, programArguments, {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 26,
    env: { ...inherited, ...environment },
  })
  if (status === 0) return stdout
  process.stderr.write(stdout ?? '')
  throw new Error(`${[program, ...programArguments].join(' ')} ended with ${error?.message ?? signal ?? status}`)
}
