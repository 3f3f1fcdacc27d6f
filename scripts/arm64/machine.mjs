/** Runs programs for arm64 under qemu. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const inRoot = (...names) => join(fileURLToPath(new URL('../..', import.meta.url)), ...names)
export const node = inRoot('scripts', 'arm64', 'node.sh')
/** The libraries of Debian 12, which the addon is built with. */
export const sysroot = inRoot('build', 'sysroot', 'arm64')
export const addon = inRoot('build-arm64', 'Release', 'mora.node')

/** Clears variables that name other addons or choose how much is tested. */
const { MORA_BINARY, MORA_BUILD_FOLDER, MORA_TEST_LONG, ...inherited } = process.env

/** Runs a program and returns its stdout. Passes its stderr on; if it fails, prints stdout too and throws. */
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
