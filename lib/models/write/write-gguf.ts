/** Writes a model as a GGUF file with its tokenizer and chat template, one tensor in memory at a time. */
import { UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { ggufTitle, readModelGguf } from '../../io/gguf-parts.js'
import type { GgufFile } from '../../io/gguf-types.js'
import { type GgufEntry, type GgufField, ggufText, plainMetadata, uint32, writeGguf } from '../../io/gguf-writer.js'
import { isBlockDType, native } from '../../native/addon.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { copiedTokenizerFields, noTokenizerFields, tokenizerFields } from '../../text/tokenizer-fields.js'
import { configFromGguf, ggufFamilyOf } from '../families/gguf-config.js'
import { parseConfig } from '../families/parse-config.js'
import { type GgufDType, type GgufQuantiseFormat, isMixture } from '../formats.js'
import { modelFields, ropeFactors } from '../gguf/fields.js'
import type { GgufFamily } from '../gguf/gguf-family.js'
import { orderOfRuns } from '../gguf/layout.js'
import { ggufShape, ggufTensors, ropeFactorsName } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { linearsOf, normsOf, weightShapes } from '../network/plan.js'
import type { importanceFor } from '../quantise/importance.js'
import { formatInMixture, formatOfLinear } from '../quantise/mixtures.js'
import { quantised } from '../read/quantise-on-load.js'
import {
  defaultDType,
  filledWeight,
  HostBuffer,
  roundedBytes,
  type WritableModel,
  type Writing,
} from './writable-model.js'

interface WriteGgufOptions {
  /**
   * The dtype of matrices, or a mixture of block formats; vectors are float32, as llama.cpp requires. Default: the source's, or
   * bfloat16 if that is quantised.
   */
  dtype?: GgufDType
  /** The format of the blocks' linear layers, if it differs. */
  quantise?: GgufQuantiseFormat
  /** The importance that weighs errors of blocks; null: values alone weigh them. */
  importance?: Awaited<ReturnType<typeof importanceFor>> | null
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
}

/** ggml's numbers of the type of most tensors: `general.file_type`. */
const FILE_TYPES: Record<GgufDType | GgufQuantiseFormat, number> = {
  float32: 0,
  float16: 1,
  bfloat16: 32,
  q4_0: 2,
  q8_0: 7,
  q4_k: 14,
  q4_k_m: 15,
  q5_k_m: 17,
  q6_k: 18,
  iq4_xs: 30,
  mxfp4: 38,
}

/**
 * Writes the file atomically.
 * @throws UsageError `unsupported-option` if GGUF cannot express the whole configuration,
 * `unsupported-tokenizer`; RunError `non-finite`, `disk-full`
 */
export async function writeModelGguf(
  model: WritableModel,
  path: string,
  { dtype = defaultDType(model), quantise, importance = null, onTensor }: WriteGgufOptions = {},
): Promise<void> {
  const { config } = model
  if (config.labels) {
    throw new UsageError(
      'unfit-options',
      `GGUF files have no place for a head that scores texts: write a folder (${theOption('format', 'safetensors')}).`,
    )
  }
  const family = ggufFamilyOf(config)
  const parts = [...weightShapes(config)].flatMap(([weight, shape]) =>
    ggufTensors(weight, shape[0]!, family.names).map((part): WeightPart => ({ ...part, weight, shape })),
  )
  const writing = { output: path, memory: new HostBuffer() }
  const dtypes = storedDTypes(config, parts, { dtype, quantise, weighted: importance !== null })
  let written = 0
  const entries = parts.map((part): GgufEntry => {
    const { name, from, to } = part
    const stored = { dtype: dtypes.get(name)!, importance: importance?.columns.get(name) ?? null }
    const data = async () => {
      const bytes = await storedBytes(model, family, part, stored, writing)
      onTensor?.(++written, parts.length)
      return bytes
    }
    return { name, dtype: stored.dtype, shape: ggufShape([to - from, ...part.shape.slice(1)]), data }
  })
  const factors = ropeFactors(config)
  if (factors) {
    const data = async () => new Uint8Array(factors.buffer)
    entries.push({ name: ropeFactorsName, dtype: 'float32', shape: [factors.length], data })
  }
  const fields = modelFields(config, family)
  requireSameMeaning(config, fields, entries, factors)
  const general: [string, GgufField][] = [
    ['general.type', ggufText('model')],
    ['general.name', ggufText(model.source?.title ?? ggufTitle(path))],
    ['general.file_type', uint32(FILE_TYPES[quantise ?? dtype])],
    ['general.quantization_version', uint32(2)],
  ]
  await writeGguf(
    path,
    new Map([...fields, ...general, ...(importance?.fields ?? []), ...(await fieldsOfTokenizer(model, family))]),
    entries,
  )
}

async function fieldsOfTokenizer({ source, tokenizer, config }: WritableModel, family: GgufFamily) {
  if (source?.format === 'gguf') {
    const copied = copiedTokenizerFields((await readModelGguf(source.path)).metadata)
    return copied.has('tokenizer.ggml.model') ? copied : noTokenizerFields
  }
  if (!tokenizer) return noTokenizerFields
  return tokenizerFields(tokenizer, config.vocabularySize, source?.path ?? 'the model', family.tokenizer)
}

/** The matrix that llama.cpp's mixtures leave as it is. */
const NOT_IN_MIXTURES = 'per_layer_model_proj.weight'

/** Rows [from, to) of a weight, and their shape. */
interface WeightPart {
  readonly name: string
  readonly from: number
  readonly to: number
  readonly weight: string
  readonly shape: readonly number[]
}

/** Returns each tensor's format: float32 for vectors, convolutions and tables of positions, float16 for rows that do not fill blocks. */
function storedDTypes(
  config: ModelConfig,
  parts: readonly WeightPart[],
  { dtype, quantise, weighted }: { dtype: GgufDType; quantise?: GgufQuantiseFormat; weighted: boolean },
): Map<string, GgufEntry['dtype']> {
  const valueLayers = parts
    .flatMap(({ name }) => /^blk\.(\d+)\.attn_(?:v|qkv)\.weight$/.exec(name)?.[1] ?? [])
    .map(Number)
  const facts = { ...config, weighted, valueLayers }
  const linears = new Set(linearsOf(config.network).map(({ name }) => `${name}.weight`))
  let quantised = 0
  const dtypes = parts.map(({ name, weight, shape }): [string, GgufEntry['dtype']] => {
    if (shape.length !== 2 || weight === `${config.network.positions}.weight`) return [name, 'float32']
    const columns = shape.at(-1)!
    const blocks = quantise && linears.has(weight) ? formatOfLinear(quantise, name, columns, facts) : null
    if (blocks) quantised++
    else if (isMixture(dtype) && name === NOT_IN_MIXTURES) return [name, 'float32']
    return [name, blocks ?? (isMixture(dtype) ? formatInMixture(dtype, name, columns, facts) : dtype)]
  })
  if (quantise === undefined || quantised > 0) return new Map(dtypes)
  throw new UsageError('unfit-options', `No linear layer of the model has rows of whole blocks of ${quantise}.`)
}

/** The written form of a tensor. */
interface StoredForm {
  readonly dtype: GgufEntry['dtype']
  /** The importance of each column; null if it is unknown. */
  readonly importance: Float32Array | null
}

async function storedBytes(
  model: WritableModel,
  { layout: layoutOf, addsOffsets }: GgufFamily,
  { name, weight, shape, from, to }: WeightPart,
  { dtype, importance }: StoredForm,
  writing: Writing,
): Promise<Uint8Array> {
  const { config } = model
  const canCopy = isBlockDType(dtype) && model.isUnchanged?.(weight)
  const blocks = canCopy ? model.source!.storedBlocks(weight, from, dtype) : null
  if (blocks) return blocks
  using whole = filledWeight(model, weight, shape)
  using values = keep(whole.rows(from, to))
  const layout = layoutOf?.(name, config) ?? null
  if (addsOffsets) {
    const norm = normsOf(config.network).find((other) => `${other.name}.weight` === weight)
    if (norm && norm.weightOffset !== 0) addNumber(values, norm.weightOffset)
  }
  if (layout?.isNegatedExponential) {
    const numbers = (await values.data()) as Float32Array
    using negated = keep(
      Tensor.from(
        numbers.map((value) => -Math.exp(value)),
        values.shape,
        values,
      ),
    )
    values.copyFrom(negated)
  }
  const order = orderOfRuns(to - from, layout)
  using laidOut = order ? inOrder(values, order) : values
  if (!isBlockDType(dtype)) return await roundedBytes(laidOut, dtype, weight, writing)
  const { buffer, byteOffset, byteLength } = await roundedBytes(laidOut, 'float32', weight, writing)
  const floats = new Float32Array(buffer, byteOffset, byteLength / 4)
  const { threads } = model.device.facts()
  return quantised(weight, () => native.quantise(dtype, floats, shape.at(-1)!, importance, threads))
}

function addNumber(values: Tensor, number: number): void {
  scope(() => {
    const ones = Tensor.empty(values.shape, { device: values.device })
    native.fill(ones.native, 1)
    native.add(ones.native, values.native, number)
  })
}

/** Reorders runs for GGUF: run `order[r]` is run r of the weight. */
function inOrder(values: Tensor, order: Int32Array): Tensor {
  const { device, shape } = values
  const matrix = [order.length, values.elements / order.length]
  const source = new Int32Array(order.length)
  for (const [row, place] of order.entries()) source[place] = row
  return keep(
    scope(() => {
      const sorted = Tensor.empty(matrix, { device })
      const rows = Tensor.from(source, [source.length], { device, dtype: 'int32' })
      native.gatherRows(values.view(matrix).native, rows.native, sorted.native)
      return sorted.view(shape)
    }),
  )
}

/** Throws if a reader of the file would get another configuration. */
function requireSameMeaning(
  config: ModelConfig,
  fields: ReadonlyMap<string, GgufField>,
  entries: readonly GgufEntry[],
  factors: Float32Array | null,
): void {
  const file: GgufFile = {
    path: 'the GGUF file',
    metadata: plainMetadata(fields),
    tensors: new Map(
      entries.map(({ name, dtype, shape }) => [name, { path: '', dtype, shape, offset: 0, bytes: 0 }] as const),
    ),
  }
  const again = parseConfig(configFromGguf(file, factors ?? undefined), file.path)
  const difference = differenceOf(meaningOf(config.text ?? config), meaningOf(again), '')
  if (difference === null) return
  throw new UsageError(
    'unsupported-option',
    `A GGUF file of architecture ${String(file.metadata.get('general.architecture'))} cannot say what the model's configuration says: ${difference}.`,
  )
}

function meaningOf({ json, eosIds, initializerRange, architecture, ...meaning }: ModelConfig): unknown {
  return meaning
}

/** Returns the first difference of two values; numbers are compared as float32. */
function differenceOf(a: unknown, b: unknown, path: string): string | null {
  if (typeof a === 'number' && typeof b === 'number' && Math.fround(a) === Math.fround(b)) return null
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return Object.is(a, b) ? null : `${path.slice(1)} is ${JSON.stringify(a)} and would be ${JSON.stringify(b)}`
  }
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const found = differenceOf(
      (a as Record<string, unknown>)[key],
      (b as Record<string, unknown>)[key],
      `${path}.${key}`,
    )
    if (found !== null) return found
  }
  return null
}
