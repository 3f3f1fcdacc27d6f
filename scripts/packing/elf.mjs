/**
 * Which processor a shared library or program is for, which versions of symbols it asks of others, and how to ask for older
 * ones. Only what the packs need of ELF: 64-bit, little-endian, the section `.gnu.version_r` and the symbols that refer to it.
 * Field names are those of the ELF specification and the Linux Standard Base (symbol versioning).
 */
import { readFileSync, writeFileSync } from 'node:fs'

const sectionTypes = { dynamicSymbols: 11, versions: 0x6fffffff, neededVersions: 0x6ffffffe }
const symbolSize = 24
/** Of e_machine, as Node.js names them. */
const architectures = { 62: 'x64', 183: 'arm64' }

export class ElfFile {
  constructor(path) {
    this.path = path
    this.bytes = readFileSync(path)
    if (this.bytes.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') {
      throw new Error(`Expected a 64-bit little-endian ELF file in ${path}.`)
    }
  }

  /** As `process.arch` is there. */
  get architecture() {
    const machine = this.bytes.readUInt16LE(18)
    return architectures[machine] ?? `ELF machine ${machine}`
  }

  /** `{library, version, symbols, at, index}` for each version that is asked of a library. */
  neededVersions() {
    const section = this.#sections().find(({ type }) => type === sectionTypes.neededVersions)
    if (!section) return []
    const names = this.#symbolsByVersion()
    const needed = []
    let file = section.offset
    for (;;) {
      const library = this.#string(section.link, this.bytes.readUInt32LE(file + 4))
      let entry = file + this.bytes.readUInt32LE(file + 8)
      for (;;) {
        const index = this.bytes.readUInt16LE(entry + 6)
        const version = this.#string(section.link, this.bytes.readUInt32LE(entry + 8))
        needed.push({ library, version, symbols: names.get(index) ?? [], at: entry, index })
        const next = this.bytes.readUInt32LE(entry + 12)
        if (next === 0) break
        entry += next
      }
      const next = this.bytes.readUInt32LE(file + 12)
      if (next === 0) return needed
      file += next
    }
  }

  /** Asks for version `to` of a library where version `from` of it was asked for (entries of `neededVersions`). */
  rebind(from, to) {
    this.bytes.copy(this.bytes, from.at, to.at, to.at + 4) // vna_hash
    this.bytes.copy(this.bytes, from.at + 8, to.at + 8, to.at + 12) // vna_name
  }

  /**
   * Asks for the function `to` in the version with this index where `from` was asked for. No name is added: `to` must be the
   * end of one that the file has.
   */
  bind(from, to, index) {
    const [symbols, versions] = [this.#section(sectionTypes.dynamicSymbols), this.#section(sectionTypes.versions)]
    const strings = this.#sections()[symbols.link]
    const name = this.bytes.indexOf(`${to}\0`, strings.offset, 'latin1') - strings.offset
    if (name < 0 || name >= strings.size) throw new Error(`${this.path} has no name that ends with ${to}.`)
    for (let i = 0; i < symbols.size / symbolSize; i++) {
      const at = symbols.offset + i * symbolSize
      if (this.#string(symbols.link, this.bytes.readUInt32LE(at)) !== from) continue
      this.bytes.writeUInt32LE(name, at)
      this.bytes.writeUInt16LE(index, versions.offset + 2 * i)
    }
  }

  save() {
    writeFileSync(this.path, this.bytes)
  }

  #sections() {
    const { bytes } = this
    const [offset, size, count] = [Number(bytes.readBigUInt64LE(40)), bytes.readUInt16LE(58), bytes.readUInt16LE(60)]
    return Array.from({ length: count }, (_, i) => {
      const at = offset + i * size
      return {
        type: bytes.readUInt32LE(at + 4),
        offset: Number(bytes.readBigUInt64LE(at + 24)),
        size: Number(bytes.readBigUInt64LE(at + 32)),
        link: bytes.readUInt32LE(at + 40),
      }
    })
  }

  #section(type) {
    const section = this.#sections().find((one) => one.type === type)
    if (!section) throw new Error(`${this.path} has no section of type ${type}.`)
    return section
  }

  #string(section, offset) {
    const start = this.#sections()[section].offset + offset
    return this.bytes.toString('latin1', start, this.bytes.indexOf(0, start))
  }

  #symbolsByVersion() {
    const [symbols, versions] = [this.#section(sectionTypes.dynamicSymbols), this.#section(sectionTypes.versions)]
    const strings = this.#sections()[symbols.link].offset
    const found = new Map()
    for (let i = 0; i < symbols.size / symbolSize; i++) {
      const index = this.bytes.readUInt16LE(versions.offset + 2 * i) & 0x7fff
      if (index < 2) continue
      const start = strings + this.bytes.readUInt32LE(symbols.offset + i * symbolSize)
      const name = this.bytes.toString('latin1', start, this.bytes.indexOf(0, start))
      if (!found.has(index)) found.set(index, [])
      found.get(index).push(name)
    }
    return found
  }
}
