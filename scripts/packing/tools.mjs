/** What the scripts that pack binaries share: running tools, and finding the libraries that a binary needs. */
import { spawnSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'

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

/** Copies a file, or what a link stands for. */
export function copy(source, target) {
  cpSync(source, target, { dereference: true })
  return target
}

export function strip(path) {
  run('strip', [path])
}

/** glibc's own libraries and NVIDIA's driver. */
const system = /^(linux-vdso|ld-linux|lib(c|m|dl|rt|util|pthread|resolv|cuda)\.so)/

/** Every library that the files need, name → path, but those of the system, of which `isThere` may add more. */
export function neededLibraries(paths, isThere = () => false) {
  const needed = new Map()
  for (const path of paths) {
    for (const [, name, found] of run('ldd', [path]).matchAll(/^\s*(\S+) => (\S+)/gm)) {
      if (found === 'not') fail(`${path} needs ${name}, which is not found here.`)
      if (!system.test(name) && !isThere(name)) needed.set(name, found)
    }
  }
  return needed
}

/** Copies them into a folder, under the names that they are asked for by. */
export function copyLibraries(libraries, folder) {
  return [...libraries].map(([name, found]) => copy(found, join(folder, name)))
}
