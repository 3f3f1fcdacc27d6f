import { dirname, join } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { makeFolder, replaceFolder, writeFileAtomic } from '../../io/atomic.js'
import { foreignJson, type JsonObject, withEntries } from '../../io/json.js'
import { companionFiles, embeddingFiles, isModelFile, modelFilesIn } from '../../io/model-folder.js'
import { readWhole } from '../../io/open.js'
import { type SafetensorsEntry, writeShardedSafetensors } from '../../io/safetensors.js'
import type { SafetensorsDType } from '../../io/stored-dtype.js'
import { elementsOf, type FloatDType, native } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import { Tensor, transposedView } from '../../tensor/tensor.js'
import { readTokenizerGguf } from '../../text/tokenizer/from-gguf.js'
import { CLASSIFIER } from '../families/parse-config.js'
import { linearsOf, transposedWeights, weightShapes } from '../network/plan.js'
import { FileTensor } from '../read/file-tensor.js'
import { NF4_BLOCK } from '../read/quantise-on-load.js'
import { poolingFiles } from '../read/sentence-transformers.js'
import type { StoredWeight } from '../read/stored-weight.js'
import {
  defaultDType,
  defaultDTypeOf,
  filledWeight,
  HostBuffer,
  roundedBytes,
  type WritableModel,
  type Writing,
} from './writable-model.js'

interface WriteOptions {
  /** The dtype of every weight that is not quantised; default: each one's in the source, or bfloat16 if that is quantised. */
  dtype?: FloatDType
  /** The format that the blocks' linear layers are quantised to; absent: floats. */
  quantise?: 'nf4'
  /** Called after each tensor. */
  onTensor?: (written: number, total: number) => void
}

/**
 * Writes a model in Hugging Face's layout, one tensor in memory at a time, each rounded at most once. The model appears as a
 * whole or not at all, in the place of a former one; other files of the folder are kept.
 * @throws RunError `non-finite` if a value is not finite in `dtype`, `disk-full` before anything is written
 */
export async function writeModelFolder(
  model: WritableModel,
  folder: string,
  { dtype: commonDType, quantise, onTensor }: WriteOptions = {},
): Promise<void> {
  const { source } = model
  const dtype = commonDType ?? defaultDType(model)
  const shapes = weightShapes(model.config)
  const { linears, config: quantisation } = quantise
    ? nf4Linears(model, shapes, dtype)
    : { linears: null, config: null }
  const transposed = transposedWeights(model.config.network)
  const writing = { output: folder, memory: new HostBuffer() }
  let written = 0
  const inFile = (name: string) => source?.spelling.inFile(name) ?? name
  const entries = [...shapes].flatMap(([name, shape]): SafetensorsEntry[] => {
    if (linears?.has(name)) {
      const values = async () => {
        using filled = filledWeight(model, name, shape)
        const { buffer, byteOffset, byteLength } = await roundedBytes(filled, 'float32', name, writing)
        onTensor?.(++written, shapes.size)
        return new Float32Array(buffer, byteOffset, byteLength / 4)
      }
      return nf4Entries(inFile(name), shape, dtype, values, model.device.facts().threads)
    }
    const own = commonDType ?? defaultDTypeOf(model, name)
    const data = async () => {
      const bytes = await bytesOf(model, name, shape, own, transposed.has(name), writing)
      onTensor?.(++written, shapes.size)
      return bytes
    }
    return [{ name: inFile(name), dtype: own, shape: transposed.has(name) ? shape.toReversed() : shape, data }]
  })
  for (const stored of source?.kept ?? []) entries.push(keptEntry(model, stored, dtype, writing))
  const build = async (temporary: string) => {
    await writeShardedSafetensors(temporary, entries)
    const { json: read, labels } = model.config
    // Newer configurations call torch_dtype `dtype`.
    const json = withEntries(read, {
      ...(labels && classifierJson(read, labels)),
      [Object.hasOwn(read, 'dtype') ? 'dtype' : 'torch_dtype']: dtype,
      ...(quantisation && { quantization_config: quantisation }),
    })
    await writeFileAtomic(join(temporary, 'config.json'), foreignJson(json))
    for (const [name, content] of await companions(model)) {
      const path = join(temporary, name)
      await makeFolder(dirname(path))
      await writeFileAtomic(path, content)
    }
  }
  await replaceFolder(folder, build, isModelFile)
}

/** Returns the entries of `config.json` that make a model a classifier in transformers. */
function classifierJson({ architectures }: JsonObject, labels: readonly string[]): JsonObject {
  const [ofText = ''] = Array.isArray(architectures) ? architectures.map(String) : []
  return {
    architectures: [ofText.replace(/(For[A-Z]\w*|LMHeadModel|Model)?$/, CLASSIFIER)],
    id2label: Object.fromEntries(labels.map((name, i) => [i, name])),
    label2id: Object.fromEntries(labels.map((name, i) => [name, i])),
  }
}

/** Returns a tensor that is no weight of the text model: as its file has it, or its values where they are quantised. */
function keptEntry(model: WritableModel, stored: StoredWeight, dtype: FloatDType, writing: Writing): SafetensorsEntry {
  const source = model.source!
  const { name, shape } = stored
  const isAsStored = stored instanceof FileTensor
  return {
    name: source.spelling.inFile(name),
    dtype: isAsStored ? (stored.dtype as SafetensorsDType) : dtype,
    shape,
    data: async () => {
      if (isAsStored) return source.keptBytes(stored)
      using values = keep(Tensor.empty(shape, { device: model.device }))
      source.loadInto(name, values)
      return await roundedBytes(values, dtype, name, writing)
    },
  }
}

/** Returns the weights that become NF4, and their `quantization_config`. */
function nf4Linears(
  { config: { network, architecture }, source }: WritableModel,
  shapes: ReadonlyMap<string, readonly number[]>,
  dtype: FloatDType,
) {
  if (network.transposedLinears) {
    throw new UsageError(
      'unfit-options',
      `nf4 does not go with ${architecture}, whose weights are stored transposed: write a GGUF file.`,
    )
  }
  const names = linearsOf(network).map(({ name }) => name)
  const others = names.filter((name) => !fitsNf4(shapes.get(`${name}.weight`)!))
  const linears = new Set(names.filter((name) => !others.includes(name)).map((name) => `${name}.weight`))
  const towers = new Set(source?.kept.map(({ name }) => `model.${name.replace(/^model\./, '').split('.')[0]}`))
  const skipped = [...others, ...towers]
  return { linears, config: nf4Config(dtype, skipped.length === 0 ? null : [network.head, ...skipped]) }
}

async function bytesOf(
  model: WritableModel,
  name: string,
  shape: readonly number[],
  dtype: FloatDType,
  transpose: boolean,
  writing: Writing,
): Promise<Uint8Array> {
  const { source, device } = model
  const stored = !transpose && model.isUnchanged?.(name) ? source!.asStored(name, shape, dtype, device) : null
  using values = stored ?? filledWeight(model, name, shape)
  if (!transpose) return await roundedBytes(values, dtype, name, writing)
  const transposed = keep(transposedView(values))
  values.dispose()
  return await roundedBytes(transposed, dtype, name, writing)
}

/**
 * Returns the files of the tokenizer, of embeddings and of the generation configuration: copied from a folder, or made from the
 * configuration.
 */
async function companions(model: WritableModel): Promise<Map<string, string | Uint8Array>> {
  const { config, tokenizer, source, pooling } = model
  const own = source?.format === 'gguf' ? await readTokenizerGguf(source.path) : tokenizer
  const files = new Map<string, string | Uint8Array>(own?.files() ?? [])
  const isOfSource = !pooling || source?.embeddings.pooling === pooling
  const isCopied = (name: string) =>
    companionFiles.test(name) || (isOfSource ? embeddingFiles.test(name) : name === 'config_sentence_transformers.json')
  const made = isOfSource ? [] : poolingFiles(pooling, config)
  for (const [name, json] of made) files.set(name, foreignJson(json))
  if (source?.format === 'folder') {
    for (const name of await modelFilesIn(source.path))
      if (isCopied(name)) files.set(name, await readWhole(join(source.path, name)))
  }
  if (!files.has('generation_config.json')) {
    const { bos_token_id, eos_token_id, pad_token_id } = config.json
    const ids = { _from_model_config: true, bos_token_id, eos_token_id, pad_token_id }
    files.set('generation_config.json', foreignJson(ids))
  }
  return files
}

/** Two codes of a row share a byte. */
function fitsNf4(shape: readonly number[]): boolean {
  return shape.length === 2 && shape[1]! % 2 === 0
}

/**
 * Returns the tensors of a weight [out, in] in NF4 as bitsandbytes stores it (arXiv 2305.14314), without double quantisation.
 * They are written in sequence: `values` is called for the scales, and the codes are kept until they are written.
 * @param dtype the dtype that readers unpack the values to
 */
function nf4Entries(
  name: string,
  shape: readonly number[],
  dtype: FloatDType,
  values: () => Promise<Float32Array>,
  threads: number,
): SafetensorsEntry[] {
  const count = elementsOf(shape)
  const { table } = native.quantiseNf4(new Float32Array(0), 1)
  const json = JSON.stringify({ quant_type: 'nf4', blocksize: NF4_BLOCK, dtype, shape })
  // Spaces fill up the last four bytes to align the floats that follow.
  const state = Buffer.from(json.padEnd(json.length + ((4 - ((count / 2 + json.length) % 4)) % 4)))
  let codes: Uint8Array | null = null
  const entries: SafetensorsEntry[] = [
    {
      name: `${name}.absmax`,
      dtype: 'float32',
      shape: [Math.ceil(count / NF4_BLOCK)],
      data: async () => {
        const made = native.quantiseNf4(await values(), threads)
        codes = made.codes
        return viewOf(made.scales)
      },
    },
    { name: `${name}.quant_map`, dtype: 'float32', shape: [table.length], data: async () => viewOf(table) },
    {
      name,
      dtype: 'uint8',
      shape: [count / 2, 1],
      data: async () => {
        const made = codes!
        codes = null
        return made
      },
    },
    {
      name: `${name}.quant_state.bitsandbytes__nf4`,
      dtype: 'uint8',
      shape: [state.length],
      data: async () => state,
    },
  ]
  return entries.map((entry) => ({ ...entry, among: 4 }))
}

const viewOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength)

/**
 * Returns `quantization_config` as transformers writes it.
 * @param skipped linear layers in floats, the head among them; null: only the head
 */
function nf4Config(dtype: FloatDType, skipped: readonly string[] | null) {
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    load_in_8bit: false,
    _load_in_4bit: true,
    _load_in_8bit: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: false,
    bnb_4bit_compute_dtype: dtype,
    bnb_4bit_quant_storage: 'uint8',
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    llm_int8_skip_modules: skipped,
    llm_int8_threshold: 6,
  }
}
