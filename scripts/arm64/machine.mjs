/** Running things on arm64, by qemu. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const inRoot = (...names) => join(fileURLToPath(new URL('../..', import.meta.url)), ...names)
export const node = inRoot('scripts', 'arm64', 'node.sh')
/** The libraries of Debian 12, with which it was built. */
export const sysroot = inRoot('build', 'sysroot', 'arm64')
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
