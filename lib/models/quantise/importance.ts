/**
 * llama.cpp's importance matrices (common/imatrix-loader.cpp): for each weight, sums over tokens of the squares of its columns'
 * inputs, and the number of tokens. Reads and writes GGUF files, and reads the older format.
 */
import { basename } from 'node:path'
import { quoted, UsageError } from '../../common/errors.js'
import { readGguf } from '../../io/gguf.js'
import type { GgufFile, GgufValue } from '../../io/gguf-types.js'
import { type GgufEntry, type GgufField, ggufText, list, uint32, writeGguf } from '../../io/gguf-writer.js'
import { decodeUtf8, MAX_WHOLE_BYTES, malformed, readExactly, withInputFile } from '../../io/open.js'
import type { TensorLocation } from '../../io/stored-dtype.js'
import { ggufFamilyOf } from '../families/gguf-config.js'
import { inFileOrder } from '../gguf/layout.js'
import { ggufTensors } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { type LinearPlan, linearGroups } from '../network/plan.js'

/** Statistics of weights' inputs. */
interface Importance {
  /** The mean square of what each column is multiplied with, by the weight's name in GGUF. */
  readonly columns: ReadonlyMap<string, Float32Array>
  /** The texts that it was computed from. */
  readonly datasets: readonly string[]
  readonly chunks: number
}

/** Sums over tokens, by the weight's name in GGUF. */
interface InputSquares {
  readonly sums: ReadonlyMap<string, Float64Array>
  /** Number of tokens in every sum. */
  readonly tokens: number
  readonly datasets: readonly string[]
  /** Rows or windows of texts, and the maximum number of tokens of one. */
  readonly chunks: number
  readonly chunkSize: number
}

const [SUMS, COUNTS] = ['.in_sum2', '.counts']

/** Writes the file atomically. */
export async function writeImportance(path: string, squares: InputSquares): Promise<void> {
  const { sums, tokens, datasets, chunks, chunkSize } = squares
  const entry = (name: string, values: Float32Array): GgufEntry => ({
    name,
    dtype: 'float32',
    shape: [1, values.length],
    data: async () => new Uint8Array(values.buffer),
  })
  const names = [...sums.keys()].sort()
  const entries = names.flatMap((name) => [
    entry(`${name}${SUMS}`, Float32Array.from(sums.get(name)!)),
    entry(`${name}${COUNTS}`, Float32Array.of(tokens)),
  ])
  const fields = new Map([
    ['general.type', ggufText('imatrix')],
    ['imatrix.datasets', list('string', datasets)],
    ['imatrix.chunk_count', uint32(chunks)],
    ['imatrix.chunk_size', uint32(chunkSize)],
  ])
  await writeGguf(path, fields, entries)
}

/**
 * @throws UsageError `missing-file`, InputError `malformed-file` for a file that is not an importance matrix or has invalid
 * values
 */
export async function readImportance(path: string): Promise<Importance> {
  const isGguf = await withInputFile(path, async (handle, size) => {
    if (size > MAX_WHOLE_BYTES)
      throw malformed(path, `it has ${size} bytes, and an importance matrix at most ${MAX_WHOLE_BYTES}`)
    return (await readExactly(handle, path, 0, Math.min(4, size))).toString('latin1') === 'GGUF'
  })
  const importance = isGguf ? await readCurrent(path) : await readOlder(path)
  if (importance.columns.size === 0) throw malformed(path, 'it has no importance of any weight')
  for (const [name, values] of importance.columns) {
    const bad = values.findIndex((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY))
    if (bad >= 0) throw malformed(path, `the importance of column ${bad} of ${quoted(name)} is ${values[bad]}`)
  }
  return importance
}

async function readCurrent(path: string): Promise<Importance> {
  const { metadata, tensors } = await readGguf(path)
  const type = metadata.get('general.type')
  if (type !== 'imatrix')
    throw malformed(
      path,
      `it is not an importance matrix: its general.type is ${type === undefined ? 'missing' : quoted(type)}, not imatrix`,
    )
  const read = (name: string) => floatsOf(path, name, tensors)
  const columns = new Map<string, Float32Array>()
  for (const stored of tensors.keys()) {
    if (!stored.endsWith(SUMS)) continue
    const name = stored.slice(0, -SUMS.length)
    const [sums, counts] = [await read(stored), await read(`${name}${COUNTS}`)]
    const each = sums.length / counts.length
    if (!Number.isInteger(each))
      throw malformed(path, `${quoted(name)} has ${sums.length} sums and ${counts.length} counts`)
    // The columns of a weight that was never used are equally important.
    columns.set(
      name,
      sums.map((sum, i) => (counts[Math.floor(i / each)]! > 0 ? sum / counts[Math.floor(i / each)]! : 1)),
    )
  }
  return { columns, datasets: textsOf(metadata), chunks: Number(metadata.get('imatrix.chunk_count') ?? 0) }
}

async function floatsOf(path: string, name: string, tensors: GgufFile['tensors']): Promise<Float32Array> {
  const found: TensorLocation | undefined = tensors.get(name)
  if (found?.dtype !== 'float32' || found.bytes === 0)
    throw malformed(path, `it has no values ${quoted(name)} in float32, which belong to an importance matrix`)
  const bytes = await withInputFile(path, (handle) => readExactly(handle, path, found.offset, found.bytes))
  return new Float32Array(Uint8Array.from(bytes).buffer)
}

function textsOf(metadata: ReadonlyMap<string, GgufValue>): string[] {
  const datasets = metadata.get('imatrix.datasets')
  return Array.isArray(datasets) ? datasets.map(String) : []
}

/** Parses little-endian numbers: for each weight its name, a number of calls, and the means times that number. */
async function readOlder(path: string): Promise<Importance> {
  const file = await withInputFile(path, (handle, size) => readExactly(handle, path, 0, size))
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  let at = 0
  const take = (bytes: number) => {
    if (bytes < 0 || at + bytes > file.length) throw malformed(path, 'it is not an importance matrix, or was cut off')
    at += bytes
    return at - bytes
  }
  const number = () => view.getInt32(take(4), true)
  const string = () => {
    const length = number()
    return decodeUtf8(file.subarray(take(length), at), path)
  }
  const columns = new Map<string, Float32Array>()
  const entries = number()
  for (let entry = 0; entry < entries; entry++) {
    const name = string()
    const [calls, count] = [number(), number()]
    const start = take(4 * count)
    const value = (i: number) => view.getFloat32(start + 4 * i, true)
    columns.set(
      name,
      Float32Array.from({ length: count }, (_, i) => (calls > 0 ? value(i) / calls : value(i))),
    )
  }
  if (at === file.length) return { columns, datasets: [], chunks: 0 }
  const chunks = number()
  return { columns, datasets: at === file.length ? [] : [string()], chunks }
}

/** The importance that weighs the errors of quantising. */
interface ImportanceOfWeights {
  /** The mean square of what each column is multiplied with, by the weight's name in GGUF. */
  readonly columns: ReadonlyMap<string, Float32Array>
  /** Metadata about the importance matrix, as llama.cpp's quantiser writes it. */
  readonly fields: readonly [string, GgufField][]
}

/** Returns GGUF's names of weights with the same input, by the name of the first of their layers. */
export function weightsByInput(config: ModelConfig): Map<string, string[]> {
  const namesOf = ggufNamesOf(config)
  const groups = config.network.blocks.flatMap(linearGroups)
  return new Map(groups.map((group) => [group[0]!.name, group.flatMap(namesOf)]))
}

/** Returns numbers of a weight's columns in the order of its file. */
export function columnsInFile(config: ModelConfig, nameInFile: string, columns: Float64Array): Float64Array {
  const { columns: order } = ggufFamilyOf(config).layout?.(nameInFile, config) ?? {}
  return inFileOrder(columns, 1, { columns: order })
}

/** Returns a function that gives GGUF's names of a layer's weight. */
function ggufNamesOf(config: ModelConfig): (layer: LinearPlan) => string[] {
  const { names } = ggufFamilyOf(config)
  return ({ name, outFeatures }) => ggufTensors(`${name}.weight`, outFeatures, names).map((part) => part.name)
}

/**
 * Reads the importance of a model's columns. As in llama.cpp, a weight without importance is quantised without it, and so is
 * the table of embeddings if the length differs.
 * @throws UsageError `unfit-options` if it is of another model, and what `readImportance` throws
 */
export async function importanceFor(
  config: ModelConfig,
  path: string,
  onWarning: (message: string) => void = () => {},
): Promise<ImportanceOfWeights> {
  const importance = await readImportance(path)
  const columns = new Map(importance.columns)
  const namesOf = ggufNamesOf(config)
  const layers = config.network.blocks.flatMap(linearGroups).flat()
  const linears = layers.flatMap((layer) => namesOf(layer).map((name) => ({ name, inFeatures: layer.inFeatures })))
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
    ['quantize.imatrix.file', ggufText(basename(path))],
    ...datasets.slice(0, 1).map((name): [string, GgufField] => ['quantize.imatrix.dataset', ggufText(name)]),
    ['quantize.imatrix.entries_count', uint32(columns.size)],
    ['quantize.imatrix.chunks_count', uint32(chunks)],
  ]
}
