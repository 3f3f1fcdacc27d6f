/**
 * A hash of a model's files, which shows whether a resumed run still has the same bytes. The base of an adapter is compared by
 * its weights instead, in whatever files: `ModelSource.identity`.
 */
import { createHash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256File } from '../../io/atomic.js'

/** Maximum size in bytes of files that are hashed whole. */
const WHOLE_UP_TO = 2 ** 30
const SAMPLES = 256
const SAMPLE_BYTES = 2 ** 16

/**
 * Returns the sha256, in hexadecimal, of a model's files: a GGUF file, or config.json and the safetensors of a folder. For
 * files over 1 GiB it covers the size and 256 evenly spaced pieces, the first and the last included, so that large models start
 * quickly.
 */
export async function modelFingerprint(path: string): Promise<string> {
  const files = (await stat(path)).isDirectory() ? await modelFiles(path) : [path]
  const hash = createHash('sha256')
  for (const file of files) hash.update(await fileFingerprint(file))
  return hash.digest('hex')
}

async function modelFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name === 'config.json' || /^model.*\.safetensors$/.test(name))
  return names.sort().map((name) => join(folder, name))
}

async function fileFingerprint(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size <= WHOLE_UP_TO) return sha256File(path)
  const hash = createHash('sha256').update(`${size}:`)
  const handle = await open(path)
  try {
    const piece = new Uint8Array(SAMPLE_BYTES)
    for (let i = 0; i < SAMPLES; i++) {
      const offset = Math.floor(((size - SAMPLE_BYTES) * i) / (SAMPLES - 1))
      await handle.read(piece, 0, SAMPLE_BYTES, offset)
      hash.update(piece)
    }
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}
