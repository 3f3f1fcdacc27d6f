/**
 * What a program or library needs from the system. Platform packages for Linux need only glibc and GCC's runtime, and the one for
 * Windows only what every Windows and Node.js have.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { fail, run } from './tools.mjs'

/** The oldest supported glibc: Debian 12, Ubuntu 22.04 and Red Hat Enterprise Linux 9 have it or a newer one. */
export const oldestGlibc = '2.34'
/** Systems with that glibc have the libraries of GCC 11 or newer. */
const newest = { GLIBC: oldestGlibc, GCC: '11' }
/** glibc's own libraries, and GCC's, which Node.js needs too. */
const system = /^(ld-linux\S*|lib(c|m|dl|rt|pthread|gcc_s))\.so/
/** Names of machines in `readelf`'s output, and Node.js's names for them. */
const architectures = { 'Advanced Micro Devices X86-64': 'x64', AArch64: 'arm64' }

/** Libraries of every Windows from 10 on, and the program of Node.js. */
const windows = /^(kernel32|advapi32|user32|msvcrt|api-ms-win-[a-z0-9-]+)\.dll$|^node\.exe$/i

/** Whether a file is a program or library for Windows. */
function isForWindows(path) {
  const start = Buffer.alloc(2)
  const file = openSync(path, 'r')
  readSync(file, start)
  closeSync(file)
  return start.toString('latin1') === 'MZ'
}

/** The same of a file for Windows x64, whose symbols have no versions. */
function needsOnWindows(path) {
  const said = run('x86_64-w64-mingw32-objdump', ['--private-headers', path], { env: { ...process.env, LC_ALL: 'C' } })
  const libraries = [...said.matchAll(/^\s*DLL Name: (\S+)$/gm)].map(([, name]) => name)
  return { system: 'win32', architecture: 'x64', libraries, versions: [] }
}

/**
 * `{ system, architecture, libraries, versions }` of a file: Node.js's names of its platform, and the names of libraries and
 * versions of their symbols that it needs.
 */
export function needsOf(path) {
  if (isForWindows(path)) return needsOnWindows(path)
  const said = run('readelf', ['--wide', '--file-header', '--dynamic', '--version-info', path], {
    env: { ...process.env, LC_ALL: 'C' },
  })
  const machine = /^ *Machine: +(.+)$/m.exec(said)?.[1] ?? ''
  const every = (pattern) => [...new Set([...said.matchAll(pattern)].map(([, name]) => name))]
  return {
    system: 'linux',
    architecture: architectures[machine] ?? machine,
    libraries: every(/\(NEEDED\) .*\[(.+)\]/g),
    versions: every(/ Name: (\S+) +Flags: \S+ +Version: /g),
  }
}

/**
 * Returns the libraries, else the symbol versions, that the oldest supported system may lack, unless `carried` matches them.
 */
export function lacking({ system: os, libraries, versions }, carried = /^$/) {
  if (os === 'win32') return libraries.filter((name) => !windows.test(name))
  const isThere = (version) => {
    const [family, number] = version.split(/_(?=[\d.]+$)/)
    return newest[family] && number.localeCompare(newest[family], 'en', { numeric: true }) <= 0
  }
  const missing = libraries.filter((name) => !system.test(name) && !carried.test(name))
  return missing.length > 0 ? missing : versions.filter((name) => !isThere(name) && !carried.test(name))
}

/** Ends the script if such a system may lack something. */
export function requireLittle(path, carried = /^$/) {
  const needs = needsOf(path)
  const missing = lacking(needs, carried)
  if (missing.length === 0) return
  const [all, build] = needs.system === 'win32' ? ['Windows', 'windows'] : [`glibc ${oldestGlibc}`, 'older']
  fail(
    `Expected in ${path} what needs nothing but ${all} but it needs ${missing.join(', ')}; "npm run build ${build}" builds such.`,
  )
}
