/** What an addon for macOS may need, read from a file of the fewest bytes. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { faultsOf, readMachO } from '../../scripts/packing/mach-o.mjs'

const SYSTEM = '/usr/lib/libSystem.B.dylib'
const folder = mkdtempSync(join(tmpdir(), 'mora-mach-o-'))
let written = 0

const words = (...values) => {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i)
  return bytes
}

/** Writes a library; each needed symbol has the number of its library, from 1 on, or 254 for those of the process. */
function machO({
  processor = 0x0100000c,
  oldest = 11 << 16,
  signed = true,
  libraries = [SYSTEM],
  needed = [
    ['malloc', 1],
    ['napi_create_object', 254],
  ],
  defined = ['napi_register_module_v1'],
}) {
  const names = [
    ...defined.map((name) => ({ name, type: 0x0f, number: 0 })),
    ...needed.map(([name, number]) => ({ name, type: 1, number })),
  ]
  const strings = Buffer.from(`\0${names.map(({ name }) => `_${name}\0`).join('')}`)
  const loads = libraries.map((path) => {
    const text = Buffer.alloc(8 * Math.ceil((path.length + 1) / 8))
    text.write(path)
    return Buffer.concat([words(0x0c, 24 + text.length, 24, 0, 0, 0), text])
  })
  const others = [words(0x32, 24, 1, oldest, 0, 0), ...(signed ? [words(0x1d, 16, 0, 0)] : []), ...loads]
  const symbolsAt = 32 + others.reduce((sum, { length }) => sum + length, 0) + 24
  const namesAt = symbolsAt + 16 * names.length
  const commands = [...others, words(0x02, 24, symbolsAt, names.length, namesAt, strings.length)]
  let at = 1
  const symbols = names.map(({ name, type, number }) => {
    const symbol = Buffer.alloc(16)
    symbol.writeUInt32LE(at, 0)
    symbol[4] = type
    symbol.writeUInt16LE(number << 8, 6)
    at += name.length + 2
    return symbol
  })
  const size = commands.reduce((sum, { length }) => sum + length, 0)
  const path = join(folder, `${written++}.node`)
  writeFileSync(
    path,
    Buffer.concat([words(0xfeedfacf, processor, 0, 6, commands.length, size, 0, 0), ...commands, ...symbols, strings]),
  )
  return path
}

test('a file says its system and what it needs', () => {
  expect(readMachO(machO({}))).toEqual({
    architecture: 'arm64',
    oldest: '11.0',
    signed: true,
    libraries: [SYSTEM],
    defined: ['napi_register_module_v1'],
    needed: [
      { name: 'malloc', library: SYSTEM },
      { name: 'napi_create_object', library: null },
    ],
  })
  expect(faultsOf(machO({}))).toEqual([])
  expect(() => readMachO(process.execPath)).toThrow(/^Expected .* to be a Mach-O file\.$/)
})

test.each([
  [{ oldest: 12 << 16 }, 'it is for macOS 12.0 or newer'],
  [{ signed: false }, 'it is not signed'],
  [{ libraries: [SYSTEM, '/opt/homebrew/lib/libomp.dylib'] }, 'it needs /opt/homebrew/lib/libomp.dylib'],
  [{ needed: [['napi_of_tomorrow', 254]] }, 'it needs napi_of_tomorrow of Node.js'],
  [{ needed: [['_ZNSt3__14coutE', 254]] }, 'it needs _ZNSt3__14coutE of Node.js'],
  [{ defined: [] }, 'it does not define napi_register_module_v1'],
])('an addon that Node.js cannot load on every supported Mac is refused: %j', (described, fault) => {
  expect(faultsOf(machO(described))).toEqual([fault])
})
