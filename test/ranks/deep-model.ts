/** A model on disk with many more blocks than the two that a rank keeps whole. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { initModel } from '../../lib/models/index.js'
import { networkUnits } from '../../lib/models/network/units.js'
import { ModelSource } from '../../lib/models/read/model-source.js'
import { elementsOf } from '../../lib/native/addon.js'
import { goldenPath } from '../golden/files.js'
import { testDevice } from '../operations/harness.js'

export interface DeepModel {
  readonly path: string
  /** Bytes of all weights in float32, and of the matrices of a block. */
  readonly bytesOfBase: number
  readonly bytesOfBlock: number
  /** Bytes of a rank's part and of two blocks, all in pieces of 64 bytes, and of the vectors. */
  readonly most: number
  /** A file of rows for the model. */
  readonly rows: string
}

/** Writes a model of eight blocks for a number of ranks; `config` may change its sizes. */
export async function deepModel(folder: string, ranks: number, sizes: object = {}): Promise<DeepModel> {
  const json = JSON.parse(readFileSync(join(goldenPath('tiny-untied/model'), 'config.json'), 'utf8'))
  const config = join(folder, 'deep.config')
  writeFileSync(config, JSON.stringify({ ...json, num_hidden_layers: 8, ...sizes }))
  const path = join(folder, 'deep')
  using model = await initModel(config, { device: testDevice().kind, threads: 2, dtype: 'float32' })
  await model.save(path)
  const source = await ModelSource.open(path)
  const bytesOf = (name: string) => 4 * elementsOf(source.shape(name))
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
  const units = networkUnits(source.config).map(({ groups }) => groups.map((names) => sum(names.map(bytesOf))))
  const partOf = (groups: readonly number[]) => sum(groups.map((bytes) => 64 * Math.ceil(bytes / (64 * ranks))))
  const bytesOfBase = sum([...source.weights.keys()].map(bytesOf))
  const vectors = bytesOfBase - sum(units.flat())
  return {
    path,
    bytesOfBase,
    bytesOfBlock: sum(units[1]!),
    most: sum(units.map(partOf)) + 2 * ranks * partOf(units[1]!) + vectors,
    rows: goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl'),
  }
}
