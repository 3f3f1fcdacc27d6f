/**
 * Makes programs and libraries that were linked on this machine run with an older glibc: what they ask of versions newer
 * than `oldest` is bound to the oldest version instead, under which glibc has a function of that name, or the pack's own
 * library does (newer-glibc.c).
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { ElfFile } from './elf.mjs'

export const oldest = [2, 35]

/** What newer-glibc.c defines. */
const replaced = new Set([
  ...['strtol', 'strtoll', 'strtoul', 'strtoull', 'sscanf', 'fscanf'].map((name) => `__isoc23_${name}`),
  'arc4random',
  'arc4random_buf',
])
/** What glibc has had from the start too; the newer version of fmod only leaves errno alone. */
const hasOlderVersion = new Set(['fmod', 'fmodf'])

const numbersOf = (version) => /^GLIBC_(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number)
const isNewer = ([major, minor], [otherMajor, otherMinor]) =>
  major > otherMajor || (major === otherMajor && minor > otherMinor)

const tooNew = ({ version }) => {
  const numbers = numbersOf(version)
  return numbers !== undefined && isNewer(numbers, oldest)
}

/** Lowers what `path` asks for and returns the names concerned. Throws for a function that nothing stands in for. */
export function lower(path) {
  const file = new ElfFile(path)
  const needed = file.neededVersions()
  const names = []
  for (const entry of needed.filter(tooNew)) {
    const unknown = entry.symbols.filter((name) => !replaced.has(name) && !hasOlderVersion.has(name))
    if (unknown.length > 0) {
      throw new Error(
        `${path} needs ${unknown.join(', ')} of ${entry.version}, and the pack has nothing in place of it: ` +
          `add it to newer-glibc.c, or build on a system with glibc ${oldest.join('.')}.`,
      )
    }
    const [base] = needed
      .filter(({ library, version }) => library === entry.library && numbersOf(version))
      .sort((a, b) => (isNewer(numbersOf(a.version), numbersOf(b.version)) ? 1 : -1))
    file.rebind(entry, base)
    names.push(...entry.symbols)
  }
  if (names.length > 0) file.save()
  requireOld(path)
  return names
}

/** Throws if a file asks for anything newer, by objdump: another reader of ELF than ours. */
function requireOld(path) {
  const { status, stdout } = spawnSync('objdump', ['-T', path], { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error('Expected objdump (of binutils), which checks the versions of symbols.')
  const newer = [...stdout.matchAll(/\*UND\*.*\((GLIBC_[\d.]+)\)\s+(\S+)/g)].filter(([, version]) =>
    tooNew({ version }),
  )
  if (newer.length > 0) throw new Error(`${path} still needs ${newer.map((match) => match[2]).join(', ')}.`)
}

/** Compiles what stands in for newer functions. */
export function compileReplacements(target) {
  const at = (name) => fileURLToPath(new URL(name, import.meta.url))
  const { status } = spawnSync(
    process.env.CC ?? 'gcc',
    [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-shared',
      '-fPIC',
      '-fno-builtin',
      '-o',
      target,
      at('newer-glibc.c'),
    ].concat(`-Wl,--version-script=${at(`newer-glibc.${process.arch}.map`)}`),
    { stdio: 'inherit' },
  )
  if (status !== 0) throw new Error(`${target} could not be compiled.`)
}
