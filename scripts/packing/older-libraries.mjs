/**
 * Makes programs and libraries that were linked on this machine run with an older glibc and libstdc++. A function that a
 * file asks for in a version newer than `oldest` is asked for in an old version instead, where needed under the name of
 * the older function that does the same.
 */
import { spawnSync } from 'node:child_process'
import { ElfFile } from './elf.mjs'

/** The newest versions that may be asked for: Debian 12, Ubuntu 22.04. A family that is not here may have any. */
const oldest = { GLIBC: [2, 35], GLIBCXX: [3, 4, 30], CXXABI: [1, 3, 13], GCC: [12, 0, 0] }
export const oldestGlibc = oldest.GLIBC.join('.')

/** What stands in for a newer function: one of glibc's first version. */
const standIns = {
  // The newer ones read "0b101" as binary too; nothing that is packed relies on that.
  ...Object.fromEntries(
    ['strtol', 'strtoll', 'strtoul', 'strtoull', 'sscanf', 'fscanf'].map((name) => [`__isoc23_${name}`, name]),
  ),
  // The newer versions only leave errno alone.
  fmod: 'fmod',
  fmodf: 'fmodf',
  // Both end the process; the newer one says with which exception.
  __cxa_call_terminate: 'abort',
  // Asked for so that no older library is taken, and never called.
  _ZSt21ios_base_library_initv: '_ZSt21ios_base_library_initv',
}

function splitVersion(version) {
  const match = /^([A-Z]+)_(\d+(?:\.\d+)*)$/.exec(version)
  return { family: match?.[1], numbers: match?.[2].split('.').map(Number) }
}

function compare(one, other) {
  for (let i = 0; i < Math.max(one.length, other.length); i++) {
    const difference = (one[i] ?? 0) - (other[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function isTooNew({ version }) {
  const { family, numbers } = splitVersion(version)
  return family !== undefined && family in oldest && compare(numbers, oldest[family]) > 0
}

/**
 * Lowers what the file at `path` asks for, and returns the names concerned. Throws for a function that nothing stands in
 * for; `replaced` are those that another library of the pack defines under glibc's first version.
 */
export function lower(path, replaced = []) {
  const file = new ElfFile(path)
  const needed = file.neededVersions()
  const names = []
  for (const entry of needed.filter(isTooNew)) {
    const unknown = entry.symbols.filter((name) => !(name in standIns) && !replaced.includes(name))
    if (unknown.length > 0) {
      throw new Error(
        `${path} needs ${unknown.join(', ')} of ${entry.version}, and nothing stands in for it: add it to ` +
          'scripts/packing/older-libraries.mjs, or build on an older system.',
      )
    }
    const { index } = firstGlibc(needed, entry.library) ?? firstGlibc(needed, 'libc.so.6')
    for (const name of entry.symbols) file.bind(name, standIns[name] ?? name, index)
    // Nothing uses the version any more, but the loader still looks for it.
    file.rebind(
      entry,
      needed.find((other) => other.library === entry.library && !isTooNew(other)),
    )
    names.push(...entry.symbols)
  }
  if (names.length > 0) file.save()
  requireOld(path)
  return names
}

function firstGlibc(needed, library) {
  return needed
    .map((entry) => ({ ...entry, ...splitVersion(entry.version) }))
    .filter((entry) => entry.library === library && entry.family === 'GLIBC')
    .sort((one, other) => compare(one.numbers, other.numbers))[0]
}

/** Throws if a file asks for anything newer, by objdump: another reader of ELF than ours. */
function requireOld(path) {
  const { status, stdout } = spawnSync('objdump', ['-T', path], { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error('Expected objdump (of binutils), which checks the versions of symbols.')
  const newer = [...stdout.matchAll(/\*UND\*.*\(([A-Z]+_[\d.]+)\)\s+(\S+)/g)].filter(([, version]) =>
    isTooNew({ version }),
  )
  if (newer.length > 0) throw new Error(`${path} still needs ${newer.map((match) => match[2]).join(', ')}.`)
}
