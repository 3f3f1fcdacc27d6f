/** The layers of docs/design.md: imports of lib run downwards only, no files import each other, and names are exported once. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const lib = fileURLToPath(new URL('../lib', import.meta.url))

/** Layers of each part, the lowest first; a file directly in it is a layer's entry by itself. */
const houses: Readonly<Record<string, readonly (readonly string[])[]>> = {
  '.': [
    ['common'],
    ['system'],
    ['native'],
    ['io'],
    ['tensor', 'schema'],
    ['hub', 'ranks'],
    ['nn', 'text'],
    ['rows'],
    ['batches'],
    ['adapters', 'optim', 'tasks'],
    ['models'],
    ['engine'],
    ['objectives'],
    ['options'],
    ['generate', 'push'],
    ['train', 'analysis'],
    ['eval', 'dashboard', 'fit', 'graders'],
    ['jobs'],
    ['serve'],
    ['ai', 'doctor.ts', 'self-check'],
    ['index.ts', 'cli'],
  ],
  text: [
    ['python'],
    ['jinja', 'tokenizer'],
    ['templates'],
    ['masks'],
    ['isolated'],
    ['template.ts'],
    ['tokenizer.ts'],
    ['chat-mask.ts', 'prompt.ts', 'tokenizer-fields.ts', 'tool-calls'],
  ],
  batches: [
    ['batch.ts', 'examples', 'place.ts'],
    ['dataset.ts'],
    ['sampler.ts'],
    ['step-rows.ts'],
    ['packing.ts', 'stream'],
    ['loader.ts'],
  ],
  adapters: [
    ['contract'],
    ['methods', 'tensors'],
    ['own-methods.ts'],
    ['registry.ts'],
    ['new-adapter.ts'],
    ['files', 'single-layer.ts', 'gradient-check.ts'],
    ['planning', 'index.ts'],
  ],
  models: [
    ['formats.ts'],
    ['network', 'load-options.ts'],
    ['gguf'],
    ['families'],
    ['quantise'],
    ['read'],
    ['load', 'write'],
    ['adaptation'],
    ['model-view.ts'],
    ['model.ts'],
    ['load-model.ts'],
    ['index.ts'],
  ],
}

const everything = readdirSync(lib, { recursive: true }) as string[]
const files = everything.filter((file) => /\.[jt]s$/.test(file))

/** Types included. A `.js` of an import is a `.ts` here, except in the dashboard's page. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(lib, file), 'utf8')
  const paths = [...source.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) => path!)
  return paths
    .map((path) => normalize(join(dirname(file), path)))
    .map((path) => (files.includes(path) ? path : path.replace(/\.js$/, '.ts')))
}

const imports = new Map(files.map((file) => [file, importsOf(file)]))

/** Files that import each other, and those on a path between two such cycles. */
function inCircles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  let left = [...imports.keys()]
  for (;;) {
    const kept = new Set(left)
    const imported = new Set(left.flatMap((file) => imports.get(file)!))
    const next = left.filter((file) => imported.has(file) && imports.get(file)!.some((path) => kept.has(path)))
    if (next.length === left.length) return left
    left = next
  }
}

for (const [house, floors] of Object.entries(houses)) {
  const within = (path: string) => house === '.' || path.startsWith(`${house}/`)
  const roomOf = (path: string): string => (house === '.' ? path : path.slice(house.length + 1)).split('/')[0]!
  const floorOf = (path: string): number => floors.findIndex((rooms) => rooms.includes(roomOf(path)))
  const own = files.filter(within)
  const name = join('lib', house)

  test(`every folder and file of ${name} has a layer`, () => {
    expect(own.filter((file) => floorOf(file) < 0)).toEqual([])
  })

  test(`imports run downwards in ${name}`, () => {
    const inside = own.flatMap((file) => imports.get(file)!.filter(within))
    expect(inside.length).toBeGreaterThan(own.length)
    const upwards = own.flatMap((file) =>
      imports
        .get(file)!
        .filter((path) => within(path) && roomOf(path) !== roomOf(file) && floorOf(path) >= floorOf(file))
        .map((path) => `${file} imports ${path}`),
    )
    expect(upwards).toEqual([])
  })
}

test('no files import each other', () => {
  const circle = { a: ['b'], b: ['c'], c: ['b', 'd'], d: [] }
  expect(inCircles(new Map(Object.entries(circle)))).toEqual(['b', 'c'])
  const knotted = new Set(inCircles(imports))
  expect(
    [...knotted].map(
      (file) =>
        `${file} imports ${imports
          .get(file)!
          .filter((path) => knotted.has(path))
          .join(', ')}`,
    ),
  ).toEqual([])
})

test('what lies in one folder imports each other in one direction only', () => {
  const folders = new Set(files.flatMap((file) => foldersOf(file)))
  expect(folders.size).toBeGreaterThan(50)
  expect(
    [...folders].flatMap((folder) => inCircles(importsWithin(folder)).map((entry) => join(folder, entry))),
  ).toEqual([])
})

/** Returns the folders of a file, from lib itself to its own. */
function foldersOf(file: string): string[] {
  const parts = file.split('/').slice(0, -1)
  return ['', ...parts.map((_, i) => `${parts.slice(0, i + 1).join('/')}/`)]
}

/** Returns for each file and folder of a folder the others that it imports. */
function importsWithin(folder: string): Map<string, string[]> {
  const entryOf = (path: string) => path.slice(folder.length).split('/')[0]!
  const own = files.filter((file) => file.startsWith(folder))
  const entries = new Map<string, string[]>(own.map((file) => [entryOf(file), []]))
  for (const file of own) {
    const imported = imports.get(file)!.filter((path) => path.startsWith(folder) && entryOf(path) !== entryOf(file))
    entries.get(entryOf(file))!.push(...imported.map(entryOf))
  }
  return entries
}

test('no two files of lib export things of one name', () => {
  const declaration = /^export (?:abstract class|(?:async )?function\*?|class|const|interface|type) (\w+)/gm
  const owners = new Map<string, Set<string>>()
  for (const file of files.filter((file) => file.endsWith('.ts'))) {
    for (const [, name] of readFileSync(join(lib, file), 'utf8').matchAll(declaration)) {
      owners.set(name!, (owners.get(name!) ?? new Set()).add(file))
    }
  }
  expect(owners.size).toBeGreaterThan(1000)
  expect([...owners].filter(([, paths]) => paths.size > 1).map(([name, paths]) => [name, ...paths])).toEqual([])
})

test('only system reads what the kernel tells in files', () => {
  const readers = files.filter((file) => /['`]\/(?:proc|sys)\//.test(readFileSync(join(lib, file), 'utf8')))
  expect(readers.filter((file) => !file.startsWith('system/'))).toEqual([])
  expect(readers).not.toEqual([])
})
