/** Helpers of the scripts that pack binaries. */
import { spawnSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'

/** Runs a command and returns what it printed; ends the script if it fails. */
export function run(command, commandArguments, more = {}) {
  const { status, stdout, error } = spawnSync(command, commandArguments, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 26,
    ...more,
  })
  if (status !== 0) fail(`${command} ${commandArguments[0]} failed${error ? `: ${error.message}` : ''}.`)
  return stdout
}

export function fail(message) {
  console.error(message)
  process.exit(1)
}

/** Copies a file, or a link's target. */
export function copy(source, target) {
  copyFileSync(source, target)
  return target
}

/** Strips a binary for a platform, such as `linux-x64`, of symbols that running it does not need. */
export function strip(path, platform = `linux-${process.arch}`) {
  if (platform === 'win32-x64') run('x86_64-w64-mingw32-strip', [path])
  else run(platform === `linux-${process.arch}` ? 'strip' : 'aarch64-linux-gnu-strip', [path])
}
