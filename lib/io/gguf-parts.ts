/**
 * GGUF files of models, which may be split as llama.cpp's `gguf-split` does: NAME-00001-of-00003.gguf and the parts beside it.
 * Each part has its own tensors, `split.no` (from 0), `split.count` and `split.tensors.count`; all other metadata is in the first.
 */
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { quoted } from '../common/errors.js'
import { readGguf } from './gguf.js'
import type { GgufFile } from './gguf-types.js'
import { requireShards } from './model-folder.js'
import { malformed } from './open.js'
import { MOST_TENSORS, type TensorLocation } from './stored-dtype.js'

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/is

/** Returns the path of the first part of a split file, by the path of any part; other paths are returned as they are. */
export const firstGgufPart = (path: string): string => path.replace(PART_NAME, '$1-00001-of-$3$4')

/** Returns the paths of all parts of a model in GGUF parts, given the path of one; null if its name is not that of a part. */
export function ggufParts(path: string): string[] | null {
  const [, start, number, count, extension] = PART_NAME.exec(path) ?? []
  if (Number(number) < 1 || !(Number(number) <= Number(count))) return null
  return Array.from({ length: Number(count) }, (_, part) => {
    return `${start}-${String(part + 1).padStart(5, '0')}-of-${count}${extension}`
  })
}

/** Returns a file's name without `.gguf` and the number of its part. */
export const ggufTitle = (path: string): string =>
  basename(path)
    .replace(PART_NAME, '$1')
    .replace(/\.gguf$/i, '')

/**
 * Reads the header of a model's GGUF file, or the headers of all parts of the model: the first part's metadata, and every
 * tensor with the part that has it.
 * @throws UsageError `missing-file` that names every missing part
 * @throws InputError `malformed-file` with the part and what is wrong
 */
export async function readModelGguf(path: string): Promise<GgufFile> {
  const file = await readGguf(path)
  const count = file.metadata.get('split.count')
  if (count === undefined || count === 0 || count === 1) return file
  const parts = ggufParts(path)
  if (parts === null) {
    throw malformed(
      path,
      `it is one of ${count} parts of a model, but its name does not end with -00001-of-${String(count).padStart(5, '0')}.gguf`,
    )
  }
  if (count !== parts.length) throw malformed(path, `its split.count is ${count}, but its name says ${parts.length}`)
  const folder = dirname(path)
  const names = parts.map((part) => basename(part))
  requireShards(folder, basename(path), names, (name) => existsSync(join(folder, name)))
  const files: GgufFile[] = []
  for (const part of parts) files.push(part === path ? file : await readGguf(part))
  return joined(files as [GgufFile, ...GgufFile[]])
}

function joined(files: readonly [GgufFile, ...GgufFile[]]): GgufFile {
  const [first] = files
  const announced = first.metadata.get('split.tensors.count')
  const tensors = new Map<string, TensorLocation>()
  for (const [index, { path, metadata, tensors: own }] of files.entries()) {
    const expected = { 'split.no': index, 'split.count': files.length, 'split.tensors.count': announced }
    for (const [key, value] of Object.entries(expected)) {
      const found = metadata.get(key)
      if (found === value && found !== undefined) continue
      throw malformed(path, `its ${key} is ${found ?? 'missing'}, but ${value ?? 'a number'} was expected`)
    }
    for (const [name, location] of own) {
      const other = tensors.get(name)
      if (other) throw malformed(path, `tensor ${quoted(name)} is also in ${basename(other.path)}`)
      tensors.set(name, location)
    }
    if (tensors.size > MOST_TENSORS) throw malformed(path, `the parts up to it have more than ${MOST_TENSORS} tensors`)
  }
  if (tensors.size !== announced) {
    throw malformed(first.path, `its split.tensors.count is ${announced}, but its parts have ${tensors.size} tensors`)
  }
  return { ...first, tensors }
}
