/** What a program or library needs from the system. Platform packages need only glibc and GCC's runtime. */
import { fail, run } from './tools.mjs'

/** The oldest supported glibc: Debian 12, Ubuntu 22.04 and Red Hat Enterprise Linux 9 have it or a newer one. */
export const oldestGlibc = '2.34'
/** Systems with that glibc have the libraries of GCC 11 or newer. */
const newest = { GLIBC: oldestGlibc, GCC: '11' }
/** glibc's own libraries, and GCC's, which Node.js needs too. */
const system = /^(ld-linux\S*|lib(c|m|dl|rt|pthread|gcc_s))\.so/
/** Names of machines in `readelf`'s output, and Node.js's names for them. */
const architectures = { 'Advanced Micro Devices X86-64': 'x64', AArch64: 'arm64' }

/** `{ architecture, libraries, versions }` of a file: the names of libraries, and versions of their symbols, that it needs. */
export function needsOf(path) {
  const said = run('readelf', ['--wide', '--file-header', '--dynamic', '--version-info', path], {
    env: { ...process.env, LC_ALL: 'C' },
  })
  const machine = /^ *Machine: +(.+)$/m.exec(said)?.[1] ?? ''
  const every = (pattern) => [...new Set([...said.matchAll(pattern)].map(([, name]) => name))]
  return {
    architecture: architectures[machine] ?? machine,
    libraries: every(/\(NEEDED\) .*\[(.+)\]/g),
    versions: every(/ Name: (\S+) +Flags: \S+ +Version: /g),
  }
}

/**
 * Returns the libraries, else the symbol versions, that the oldest supported system may lack, unless `carried` matches them.
 */
export function lacking({ libraries, versions }, carried = /^$/) {
  const isThere = (version) => {
    const [family, number] = version.split(/_(?=[\d.]+$)/)
    return newest[family] && number.localeCompare(newest[family], 'en', { numeric: true }) <= 0
  }
  const missing = libraries.filter((name) => !system.test(name) && !carried.test(name))
  return missing.length > 0 ? missing : versions.filter((name) => !isThere(name) && !carried.test(name))
}

/** Ends the script if such a system may lack something. */
export function requireLittle(path, carried = /^$/) {
  const missing = lacking(needsOf(path), carried)
  if (missing.length > 0)
    fail(
      `Expected in ${path} what needs nothing but glibc ${oldestGlibc} but it needs ${missing.join(', ')}; ` +
        '"npm run build older" builds such.',
    )
}
