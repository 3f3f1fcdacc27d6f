/** Between the folders of native, includes run downwards only, and none is a circle of files. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const native = fileURLToPath(new URL('../../native', import.meta.url))

/** The lowest first. */
const floors = [['mora'], ['core'], ['operations', 'cpu', 'cuda', 'quantise', 'ranks'], ['addon', 'gloo']]

const folderOf = (file: string): string => file.split('/')[0]!
const floorOf = (file: string): number => floors.findIndex((folders) => folders.includes(folderOf(file)))
const files = (readdirSync(native, { recursive: true }) as string[]).filter((file) => /\.(h|cpp|cu|def)$/.test(file))

/** Files of native that a file includes. Highway includes files in themselves, once for each instruction set. */
function includesOf(file: string): string[] {
  const paths = [...readFileSync(join(native, file), 'utf8').matchAll(/^#include "([^"]+)"/gm)].map(([, path]) => path!)
  return paths.filter((path) => path !== file && floorOf(path) >= 0)
}

test('includes run downwards', () => {
  const upwards = files.flatMap((file) =>
    includesOf(file)
      .filter((path) => folderOf(path) !== folderOf(file) && floorOf(path) >= floorOf(file))
      .map((path) => `${file} includes ${path}`),
  )
  expect(files.filter((file) => floorOf(file) < 0)).toEqual([])
  expect(files.flatMap(includesOf).length).toBeGreaterThan(files.length)
  expect(upwards).toEqual([])
})

test('no file includes itself by others', () => {
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' > '))
    if (done.has(file) || path.includes(file)) return
    for (const next of includesOf(file)) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  expect(circles).toEqual([])
})

test('only core/system includes headers of the operating system', () => {
  const header = /^#include <((?:sys|mach)\/.*|(?:dlfcn|fcntl|malloc|pthread|sched|unistd|windows)\.h)>/m
  const elsewhere = files.filter((file) => header.test(readFileSync(join(native, file), 'utf8')))
  expect(elsewhere.filter((file) => !file.startsWith('core/system/'))).toEqual([])
  expect(elsewhere).not.toEqual([])
})
