/** An importance matrix beside the model that it is used for. */
import { basename } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { type GgufField, text, uint32 } from '../../io/gguf-writer.js'
import { ggufFamilyOf } from '../families/gguf-config.js'
import { ggufName } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { linearGroups, linearsOf } from '../network/plan.js'
import { type Importance, readImportance } from './importance.js'

/** What quantising weighs errors by. */
export interface ImportanceOfWeights {
  /** The mean square of what each column is multiplied with, by the weight's name in GGUF. */
  readonly columns: ReadonlyMap<string, Float32Array>
  /** What a file says of the matrix that it was quantised with, as llama.cpp's own quantiser does. */
  readonly fields: readonly [string, GgufField][]
}

/** GGUF's names of weights that are multiplied with the same input, by the name of the first of their layers. */
export function weightsByInput(config: ModelConfig): Map<string, string[]> {
  const { names } = ggufFamilyOf(config)
  const groups = linearGroups(config.network)
  return new Map(groups.map((group) => [group[0]!.name, group.map(({ name }) => ggufName(`${name}.weight`, names))]))
}

/**
 * Reads the importance of a model's columns. By llama.cpp's rules: a weight whose importance is missing is quantised without, the
 * table of embeddings also where it has another length.
 * @throws UsageError `unfit-options` where it is another model's, and what `readImportance` throws
 */
export async function importanceFor(
  config: ModelConfig,
  path: string,
  onWarning: (message: string) => void = () => {},
): Promise<ImportanceOfWeights> {
  const importance = await readImportance(path)
  const columns = new Map(importance.columns)
  const { names } = ggufFamilyOf(config)
  const linears = linearsOf(config.network).map(({ name, inFeatures }) => ({
    name: ggufName(`${name}.weight`, names),
    inFeatures,
  }))
  const { hiddenSize } = config
  const sizes = [...linears, { name: 'output.weight', inFeatures: hiddenSize }]
  for (const { name, inFeatures } of sizes) {
    const length = columns.get(name)?.length ?? inFeatures
    if (length === inFeatures) continue
    throw new UsageError(
      'unfit-options',
      `${path} has the importance of ${length} columns of ${name}, which has ${inFeatures}: it is of another model.`,
    )
  }
  if (columns.get('token_embd.weight')?.length !== hiddenSize) columns.delete('token_embd.weight')
  const missing = linears.filter(({ name }) => !columns.has(name))
  if (missing.length === linears.length) {
    throw new UsageError('unfit-options', `${path} has the importance of none of the model's linear layers.`)
  }
  if (missing.length > 0) {
    onWarning(
      `${path} has no importance of ${missing.length} of ${linears.length} linear layers, ${missing[0]!.name} among them; they are quantised without.`,
    )
  }
  return { columns, fields: fieldsOf(importance, path) }
}

function fieldsOf({ columns, datasets, chunks }: Importance, path: string): [string, GgufField][] {
  return [
    ['quantize.imatrix.file', text(basename(path))],
    ...datasets.slice(0, 1).map((name): [string, GgufField] => ['quantize.imatrix.dataset', text(name)]),
    ['quantize.imatrix.entries_count', uint32(columns.size)],
    ['quantize.imatrix.chunks_count', uint32(chunks)],
  ]
}
