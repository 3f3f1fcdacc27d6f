/** The house of docs/design.md: imports between the folders of lib run downwards only. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const lib = fileURLToPath(new URL('../lib', import.meta.url))

/** Floors, the lowest first; a file directly under lib is a room by itself. */
const floors = [
  ['printable.ts', 'package-facts.ts', 'random.ts', 'time-limit.ts'],
  ['errors.ts', 'foreign-errors.ts'],
  ['prebuilt.ts', 'arguments.ts'],
  ['native-binary.ts'],
  ['native.ts'],
  ['io'],
  ['tensor', 'schema', 'doctor.ts'],
  ['hub'],
  ['nn', 'data'],
  ['adapters', 'optim'],
  ['options'],
  ['models'],
  ['generate'],
  ['train', 'analysis', 'mora-layer.ts'],
  ['eval', 'dashboard'],
  ['index.ts', 'cli'],
  ['demo'],
]

const roomOf = (file: string): string => file.split('/')[0]!
const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room))
const files = (readdirSync(lib, { recursive: true }) as string[]).filter((file) => file.endsWith('.ts'))

function importsOf(file: string): string[] {
  const source = readFileSync(join(lib, file), 'utf8')
  const paths = [...source.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) => path!)
  return paths.map((path) => normalize(join(dirname(file), path)).replace(/\.js$/, '.ts'))
}

test('every room has a floor', () => {
  expect(files.map(roomOf).filter((room) => floorOf(room) < 0)).toEqual([])
})

test('imports run downwards', () => {
  const upwards = files.flatMap((file) =>
    importsOf(file)
      .filter((path) => roomOf(path) !== roomOf(file) && floorOf(roomOf(path)) >= floorOf(roomOf(file)))
      .map((path) => `${file} imports ${path}`),
  )
  expect(files.flatMap(importsOf).length).toBeGreaterThan(files.length)
  expect(upwards).toEqual([])
})
