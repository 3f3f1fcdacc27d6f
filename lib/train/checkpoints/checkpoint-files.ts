/** A checkpoint's tensors as float32 safetensors, and the manifest that shows that a checkpoint is complete. */

import { createHash } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { InputError, quoted } from '../../common/errors.js'
import { sha256File, writeFileAtomic } from '../../io/atomic.js'
import { isJsonObject, readJsonObject } from '../../io/json.js'
import { readExactly } from '../../io/open.js'
import { readSafetensorsHeader, safetensorsHeader, writeSafetensors } from '../../io/safetensors.js'
import type { Tensor } from '../../tensor/tensor.js'
import { allFinite, finiteValues } from '../finite.js'

export const MANIFEST = 'manifest.json'

/** Size and hash of each file of a checkpoint, by file name. */
export type ManifestFiles = Record<string, { bytes: number; sha256: string }>

/** Writes tensors one by one; throws a `RunError` if a value is not finite. */
export async function writeTensors(path: string, tensors: readonly { name: string; tensor: Tensor }[]) {
  await writeSafetensors(
    path,
    tensors.map(({ name, tensor }) => ({
      name,
      dtype: 'float32' as const,
      shape: tensor.shape,
      data: async () => {
        const values = await finiteValues(name, tensor)
        return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      },
    })),
  )
}

/** Returns the bytes of a file of tensors; null if values cannot be read at once or are not finite. */
export function safetensorsAtOnce(tensors: readonly { name: string; tensor: Tensor }[]): Uint8Array[] | null {
  const read = tensors.flatMap(({ name, tensor }) => {
    const values = tensor.dataAtOnce()
    if (!values || !allFinite(values)) return []
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    return [{ name, shape: tensor.shape, dtype: 'float32' as const, bytes }]
  })
  if (read.length < tensors.length) return null
  return [safetensorsHeader(read), ...read.map(({ bytes }) => bytes)]
}

/** Writes a new file within one call, and returns its entry in the manifest. */
export function writeAtOnce(path: string, parts: readonly Uint8Array[]): ManifestFiles[string] {
  const hash = createHash('sha256')
  const file = openSync(path, 'wx')
  let bytes = 0
  try {
    for (const part of parts) {
      hash.update(part)
      for (let from = 0; from < part.length; ) from += writeSync(file, part, from)
      bytes += part.length
    }
  } finally {
    closeSync(file)
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** Reads a file of float32 tensors, one at a time. */
export async function* readTensors(path: string): AsyncGenerator<{ name: string; values: Float32Array }> {
  const { tensors } = await readSafetensorsHeader(path)
  const handle = await open(path)
  try {
    for (const [name, { dtype, offset, bytes }] of tensors) {
      if (dtype !== 'float32') {
        throw new InputError('malformed-file', `Expected float32 for ${name} in ${path}, but it is ${dtype}.`)
      }
      const read = await readExactly(handle, path, offset, bytes)
      yield { name, values: new Float32Array(read.buffer, read.byteOffset, bytes / 4) }
    }
  } finally {
    await handle.close()
  }
}

/** Writes the size and hash of every file of a folder. Written last, it shows that the folder is complete. */
export async function writeManifest(folder: string, step: number): Promise<void> {
  const files: ManifestFiles = {}
  for (const name of await filesIn(folder)) {
    const path = join(folder, name)
    files[name] = { bytes: (await stat(path)).size, sha256: await sha256File(path) }
  }
  await writeFileAtomic(join(folder, MANIFEST), manifestText(step, files))
}

export function manifestText(step: number, files: ManifestFiles): string {
  return `${JSON.stringify({ step, files }, null, 2)}\n`
}

/** Returns what differs between a folder and its manifest, or null if every file matches. */
export async function whyTorn(folder: string): Promise<string | null> {
  let manifest: Record<string, unknown>
  try {
    manifest = await readJsonObject(join(folder, MANIFEST))
  } catch (error) {
    return `${MANIFEST} is missing or malformed (${(error as Error).message})`
  }
  const files = manifest.files
  if (!isJsonObject(files)) return `${MANIFEST} lists no files`
  for (const [name, expected] of Object.entries(files)) {
    if (name !== basename(name)) return `${MANIFEST} lists ${quoted(name)}, which is not in the folder`
    const { bytes, sha256 } = isJsonObject(expected) ? expected : {}
    if (typeof bytes !== 'number' || typeof sha256 !== 'string') return `${MANIFEST} has no size and hash of ${name}`
    const path = join(folder, name)
    const facts = await stat(path).catch(() => null)
    if (!facts?.isFile()) return `${name} is missing`
    if (facts.size !== bytes) return `${name} has ${facts.size} bytes instead of ${bytes}`
    if ((await sha256File(path)) !== sha256) return `${name} has another sha256 than when it was written`
  }
  return null
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name !== MANIFEST)
    .map((entry) => entry.name)
    .sort()
}
