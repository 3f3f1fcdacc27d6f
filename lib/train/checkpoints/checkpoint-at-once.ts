/** Writes a checkpoint within one call: without waiting, without syncing to disk and without the adapter's own files. */

import { createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryBeside } from '../../io/leftovers.js'
import { safetensorsHeader } from '../../io/safetensors.js'
import type { Tensor } from '../../tensor/tensor.js'
import { allFinite } from '../finite.js'
import { BY_TIME, type CheckpointParts, checkpointPath, OPTIMIZER, recordText, STATE, WEIGHTS } from './checkpoint.js'
import { MANIFEST, type ManifestFiles, manifestText } from './checkpoint-files.js'

/** A tensor in this process's memory. */
interface TensorInMemory {
  name: string
  shape: readonly number[]
  values: Float32Array
}

/**
 * Writes a temporary checkpoint of the step synchronously. It survives the end of the process; after a power cut its manifest
 * shows whether it is whole. Writes nothing if values cannot be read at once or are not finite, if the step already has a
 * checkpoint, or if the disk refuses: in those cases the run's regular checkpoint reports the error.
 */
export function writeCheckpointAtOnce(
  checkpoints: string,
  { parameters, optimizer, state, facts }: Omit<CheckpointParts, 'saveAdapter' | 'byTime'>,
): void {
  const path = checkpointPath(checkpoints, state.step)
  if (existsSync(path)) return
  const { updates, tensors } = optimizer.state()
  const weights = readAtOnce(parameters.map((tensor) => ({ name: tensor.name, tensor })))
  const moments = readAtOnce(tensors)
  if (!weights || !moments) return
  const folder = temporaryBeside(path, 'tmp')
  try {
    mkdirSync(folder, { recursive: true })
    const files: ManifestFiles = {
      [OPTIMIZER]: write(join(folder, OPTIMIZER), safetensors(moments)),
      [STATE]: write(join(folder, STATE), [Buffer.from(recordText({ state, updates, facts }))]),
      [WEIGHTS]: write(join(folder, WEIGHTS), safetensors(weights)),
    }
    writeFileSync(join(folder, MANIFEST), manifestText(state.step, files))
    writeFileSync(join(folder, BY_TIME), '')
    renameSync(folder, path)
  } catch {
    rmSync(folder, { recursive: true, force: true })
  }
}

function readAtOnce(tensors: readonly { name: string; tensor: Tensor }[]): TensorInMemory[] | null {
  const all = tensors.flatMap(({ name, tensor }) => {
    const values = tensor.dataAtOnce()
    return values && allFinite(values) ? [{ name, shape: tensor.shape, values }] : []
  })
  return all.length === tensors.length ? all : null
}

function safetensors(tensors: readonly TensorInMemory[]): Uint8Array[] {
  const entries = tensors.map(({ name, shape }) => ({ name, shape, dtype: 'float32' as const }))
  const bytes = tensors.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return [safetensorsHeader(entries), ...bytes]
}

function write(path: string, parts: readonly Uint8Array[]): ManifestFiles[string] {
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
