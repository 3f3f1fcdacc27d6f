/** What a library for macOS needs from the system, read from the file itself: Linux has no tool that always knows the format. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fail } from './tools.mjs'

/** The oldest supported macOS: the first on Apple's processors. */
export const oldestMacos = '11.0'
/** Libraries that every macOS has; the C++ library is linked in. */
const system = /^\/usr\/lib\/libSystem\.B\.dylib$/

const MAGIC = 0xfeedfacf
const architectures = { 16777228: 'arm64', 16777223: 'x64' }
const commands = { symbols: 0x02, library: 0x0c, weakLibrary: 0x80000018, signature: 0x1d, version: 0x32 }
/** In place of a library's number, of symbols that are looked up in all that the process has loaded: Apple's linker, and zig's. */
const DYNAMIC_LOOKUP = [0xfe, 0]

/**
 * Reads a 64-bit Mach-O file: its architecture, the oldest macOS that runs it, whether it is signed, the libraries that it is
 * linked with, the names that it defines for others, and `{name, library}` of those that it needs; `library` is null for names
 * that the process itself must have.
 */
export function readMachO(path) {
  const file = readFileSync(path)
  if (file.length < 32 || file.readUInt32LE(0) !== MAGIC) throw new Error(`Expected ${path} to be a Mach-O file.`)
  const textAt = (at) => file.toString('utf8', at, file.indexOf(0, at))
  /** @type {{ architecture?: string, oldest: string, signed: boolean, libraries: string[], defined: string[] }} */
  const found = {
    architecture: architectures[file.readUInt32LE(4)],
    oldest: '',
    signed: false,
    libraries: [],
    defined: [],
  }
  /** @type {{ name: string, number: number }[]} */
  const needed = []
  for (let at = 32, left = file.readUInt32LE(16); left > 0; left--, at += file.readUInt32LE(at + 4)) {
    const command = file.readUInt32LE(at)
    if (command === commands.signature) found.signed = true
    if (command === commands.version) {
      const version = file.readUInt32LE(at + 12)
      found.oldest = `${version >>> 16}.${(version >>> 8) & 0xff}`
    }
    if (command === commands.library || command === commands.weakLibrary)
      found.libraries.push(textAt(at + file.readUInt32LE(at + 8)))
    if (command !== commands.symbols) continue
    const [symbols, count, names] = [8, 12, 16].map((offset) => file.readUInt32LE(at + offset))
    for (let i = 0; i < count; i++) {
      const symbol = symbols + 16 * i
      const [type, description] = [file[symbol + 4], file.readUInt16LE(symbol + 6)]
      const isExternal = (type & 0xe1) === 1
      if (!isExternal) continue
      const name = textAt(names + file.readUInt32LE(symbol)).replace(/^_/, '')
      const isDefined = (type & 0x0e) !== 0
      if (isDefined) found.defined.push(name)
      else needed.push({ name, number: description >>> 8 })
    }
  }
  const libraryOf = (number) => (DYNAMIC_LOOKUP.includes(number) ? null : found.libraries[number - 1])
  return { ...found, needed: needed.map(({ name, number }) => ({ name, library: libraryOf(number) })) }
}

/** Names that Node.js has for addons of the Node-API version that ours is built for. */
function nodeApi() {
  const { symbols } = createRequire(import.meta.url)('node-api-headers')
  return new Set(Object.values(symbols.v9).flat())
}

/** Returns, in clauses, what keeps an addon from being loaded by Node.js on a macOS from `oldestMacos` on; none if nothing does. */
export function faultsOf(path) {
  const { architecture, oldest, signed, libraries, defined, needed } = readMachO(path)
  const ofNode = nodeApi()
  const unknown = needed.filter(({ name, library }) => (library === null ? !ofNode.has(name) : !system.test(library)))
  return [
    ...(architecture === undefined ? ['it is for an unknown processor'] : []),
    ...(oldest === oldestMacos ? [] : [`it is for macOS ${oldest || 'unknown'} or newer`]),
    // Apple's processors run nothing that is not signed.
    ...(architecture === 'arm64' && !signed ? ['it is not signed'] : []),
    ...libraries.filter((name) => !system.test(name)).map((name) => `it needs ${name}`),
    ...unknown.map(({ name, library }) => `it needs ${name} of ${library ?? 'Node.js'}`),
    ...(defined.includes('napi_register_module_v1') ? [] : ['it does not define napi_register_module_v1']),
  ]
}

/** Ends the script if such a system may lack something. */
export function requireMacos(path) {
  const faults = faultsOf(path)
  if (faults.length > 0) fail(`Expected ${path} to be for Node.js on macOS ${oldestMacos}, but ${faults.join(', ')}.`)
}
