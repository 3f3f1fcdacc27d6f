/**
 * What the scripts that pack binaries share: running tools, and finding the libraries that a binary needs. `sysroot` is the
 * folder with the packages of another machine, of arm64, and empty for this machine.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { ElfFile } from './elf.mjs'

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
  copyFileSync(source, target)
  return target
}

export function strip(path) {
  run(new ElfFile(path).architecture === process.arch ? 'strip' : 'aarch64-linux-gnu-strip', [path])
}

/** glibc's own libraries and NVIDIA's driver. */
const system = /^(linux-vdso|ld-linux|lib(c|m|dl|rt|util|pthread|resolv|cuda)\.so)/

/** What the loader says of a file. */
function ldd(path, sysroot) {
  if (!sysroot) return run('ldd', [path])
  return run('qemu-aarch64', ['-L', sysroot, join(sysroot, 'lib', 'ld-linux-aarch64.so.1'), '--list', path])
}

/** Every library that the files need, name → path, but those of the system, of which `isThere` may add more. */
export function neededLibraries(paths, isThere = (/** @type {string} */ _name) => false, sysroot = '') {
  const needed = new Map()
  for (const path of paths) {
    for (const [, name, found] of ldd(path, sysroot).matchAll(/^\s*(\S+) => (\S+)/gm)) {
      if (found === 'not') fail(`${path} needs ${name}, which is not found here.`)
      if (!system.test(name) && !isThere(name)) needed.set(name, `${sysroot}${found}`)
    }
  }
  return needed
}

/** Copies them into a folder, under the names that they are asked for by. */
export function copyLibraries(libraries, folder) {
  return [...libraries].map(([name, found]) => copy(found, join(folder, name)))
}
