import { join } from 'node:path'
import { about, InputError, quoted, UsageError } from '../../common/errors.js'
import { type HubOptions, locate } from '../../hub/index.js'
import { writeFileAtomic } from '../../io/atomic.js'
import { whyNoAdapter } from '../../io/folder-kinds.js'
import { foreignJson, isJsonObject, parseJson, readJsonObject } from '../../io/json.js'
import { readExactly, withInputFile } from '../../io/open.js'
import { readSafetensorsHeader, type SafetensorsEntry, writeSafetensors } from '../../io/safetensors.js'
import { elementsOf, type NativeDevice } from '../../native/addon.js'
import { POOLINGS } from '../../nn/pooling.js'
import { float32FromHalf } from '../../tensor/half.js'
import { requireFreeMemory } from '../../tensor/memory-budget.js'
import { pauseBeside } from '../../tensor/steps.js'
import type { Tensor } from '../../tensor/tensor.js'
import {
  type AdapterConfigBase,
  MERGE_WITH_PEFT,
  type StoredTensor,
  type TensorToStore,
  type TensorValues,
} from '../contract/adapter.js'
import { type BaseModel, SCORE_WEIGHT } from '../contract/base-model.js'
import { patternsIn, patternValue, requireQuickPatterns } from '../contract/patterns.js'
import { targetsInFile, writeEntries } from '../contract/peft-entries.js'
import { adapterMethod, configFromPeft } from '../registry.js'
import { tensorKinds } from '../tensors/declared-tensors.js'
import { isSavedModule, moduleOf } from './modules-to-save.js'
import type { AdapterProvenance, StoredAdapter } from './stored-adapter.js'

const configName = 'adapter_config.json'
const weightsName = 'adapter_model.safetensors'

/** Whether a file of a folder belongs to the adapter in it. */
export const isAdapterFile = (file: string): boolean => file === configName || file === weightsName
/** Tasks with their own head, which PEFT trains whole; of these, heads of labels are read. */
const headTasks = ['SEQ_CLS', 'TOKEN_CLS', 'QUESTION_ANS']
const root = 'base_model.'
const prefix = `${root}model.`

/**
 * Reads an adapter in the layout of Hugging Face PEFT 0.9 and later, or of the MoRA reference: a folder or a hub id. Throws
 * first if it does not fit into the remaining memory of `device`. `nameOf` returns the model's name of a module in the file.
 */
export async function readAdapterFolder(
  adapter: string,
  options: HubOptions = {},
  device?: NativeDevice,
  nameOf: (module: string) => string = (module) => module,
): Promise<StoredAdapter> {
  const { folder, json, header, own } = await openFolder(adapter, options)
  const configPath = join(folder, configName)
  const unsupported = (what: string) => new UsageError('unsupported-option', `${configPath} has ${what}.`)
  for (const option of ['trainable_token_indices', 'layer_replication'])
    if (json[option]) throw unsupported(`${option}, which is not supported: ${MERGE_WITH_PEFT}`)
  const { bias, task_type: task, modules_to_save: heads } = json
  if ((bias ?? 'none') !== 'none')
    throw unsupported(`bias ${quoted(bias)}; only "none" is supported: ${MERGE_WITH_PEFT}`)
  const isScored = task === 'SEQ_CLS' && header.tensors.has(`${prefix}${SCORE_WEIGHT}`)
  if (Array.isArray(heads) && headTasks.some((known) => known === task) && !isScored) {
    const what = `the task_type ${quoted(task)}: it trained a head other than a language model's (${heads.join(', ')})`
    throw unsupported(`${what}, which is not supported`)
  }
  // PEFT names both heads that transformers knows, whichever there is.
  const modules_to_save =
    isScored && Array.isArray(heads) ? [...new Set(heads)].filter((name) => name !== 'classifier') : heads
  const config = configIn({ ...json, modules_to_save, node_mora: own }, configPath)
  const kinds = tensorKinds(adapterMethod(config.method))
  const values = [...header.tensors.values()].reduce((sum, { shape }) => sum + elementsOf(shape), 0)
  const bytes = { tensors: 4 * values, making: 4 * values }
  if (device) requireFreeMemory(device, bytes, `The adapter ${adapter}`, 'give it more, or use a smaller adapter')
  const tensors = new Map<string, StoredTensor>()
  const layers = new Set<string>()
  const files = new Set<string>()
  let isRenamed = false
  const modules = new Map<string, StoredTensor>()
  const copies: StoredAdapter['copies'][number][] = []
  for (const [name, tensor] of await readTensors(header, kinds, device && pauseBeside(device))) {
    const layer = layerOf(name, kinds)
    const own = layer === null ? name : `${prefix}${nameOf(layer)}${name.slice(prefix.length + layer.length)}`
    tensors.set(own, { ...tensor, name: own })
    if (kinds.some(({ shared, suffix }) => shared && name === `${root}${suffix}`)) continue
    const [, path, kind] = /^base_model\.model\.(.+?)\.(weight|bias)$/.exec(name) ?? []
    isRenamed ||= own !== name
    const table = /^base_model\.model\.(.+?)(\.(original_module|modules_to_save)(\.\w+)?)?\.weight$/.exec(name)
    if (layer !== null) {
      layers.add(nameOf(layer))
      files.add(layer)
    }
    // PEFT copies the frozen table beside an adapter of the embeddings or the head.
    else if (name.endsWith('.base_layer.weight')) continue
    else if (path !== undefined && isSavedModule(config.modulesToSave, path))
      modules.set(`${nameOf(path)}.${kind}`, tensor)
    else if (table && isTable(table[1]!))
      copies.push({ weight: `${nameOf(table[1]!)}.weight`, tensor, isOriginal: table[3] === 'original_module' })
    else
      throw new UsageError(
        'unsupported-option',
        `${join(folder, weightsName)} holds ${name}, which is not supported here: ${MERGE_WITH_PEFT}.`,
      )
  }
  requireQuickPatterns(config, layers, configPath)
  const paths = [...modules.keys()].map(moduleOf)
  const absent = config.modulesToSave.filter((name) => !paths.some((path) => isSavedModule([nameOf(name)], path)))
  if (absent.length > 0) {
    throw new InputError(
      'malformed-file',
      `${join(folder, weightsName)} has no tensor for ${absent.join(', ')}, which modules_to_save names.`,
    )
  }
  if (layers.size === 0)
    throw new InputError('malformed-file', `${join(folder, weightsName)} holds no adapter tensors.`)
  return {
    folder,
    config: isRenamed ? renamed(config, files, nameOf) : config,
    provenance: provenanceFrom(own, own === json.node_mora ? configPath : header.path),
    layers: [...layers],
    modules,
    copies,
    tensors,
    narrowed: ['layers_to_transform', 'exclude_modules'].some((key) => (json[key] ?? null) !== null),
    tiesWeights: json.ensure_weight_tying === true,
    fanInFanOut: json.fan_in_fan_out === true,
  }
}

/** Whether a module is among the modules that PEFT saves beside an adapter if it changed, or may have changed, the vocabulary. */
const isTable = (module: string): boolean => /(^|\.)(embed_tokens|wte|lm_head)$/.test(module)

/** Reads an adapter's provenance, without its tensors. */
export async function readProvenance(adapter: string, options: HubOptions = {}): Promise<AdapterProvenance> {
  const { header, own } = await openFolder(adapter, options)
  return provenanceFrom(own, header.path)
}

/** `own`: the entries in the header, or in the configuration of older folders. */
async function openFolder(adapter: string, options: HubOptions) {
  const { path: folder } = await locate(adapter, 'adapter', options)
  const why = whyNoAdapter(folder)
  if (why !== null) throw new UsageError('not-an-adapter', `This is not an adapter: ${why}.`)
  const json = await readJsonObject(join(folder, configName))
  const header = await readSafetensorsHeader(join(folder, weightsName))
  const { node_mora: text } = header.metadata
  const own = text === undefined ? json.node_mora : parseJson(text, `node_mora in the header of ${header.path}`)
  return { folder, json, header, own }
}

function configIn(json: Record<string, unknown>, path: string): AdapterConfigBase {
  try {
    return configFromPeft(json, path)
  } catch (error) {
    throw about(path, error)
  }
}

/** Returns a configuration with the model's names of modules; `layers` are the file's names of layers, which its patterns match. */
function renamed(
  config: AdapterConfigBase,
  layers: ReadonlySet<string>,
  nameOf: (module: string) => string,
): AdapterConfigBase {
  const { targetModules: targets } = config
  const ofLayers = (numbers: Readonly<Record<string, number>>) =>
    [...layers].flatMap((layer) => {
      const value = patternValue(numbers, layer)
      return value === undefined ? [] : [[nameOf(layer), value] as const]
    })
  const patterns = patternsIn(config).map(([option, numbers]) => {
    const areNames = Object.keys(numbers).every((pattern) => /^[\w.]+$/.test(pattern))
    const entries = areNames
      ? Object.entries(numbers).map(([path, value]) => [nameOf(path), value] as const)
      : ofLayers(numbers)
    return [option, Object.fromEntries(entries)]
  })
  const targetModules =
    targets instanceof RegExp ? [...layers].map(nameOf) : targets === 'all-linear' ? targets : targets.map(nameOf)
  return { ...config, ...Object.fromEntries(patterns), targetModules }
}

/** Returns the layer that a tensor of the method belongs to; null for another tensor. */
function layerOf(name: string, kinds: ReturnType<typeof tensorKinds>): string | null {
  const kind = kinds.find(({ suffix }) => name.startsWith(prefix) && name.endsWith(`.${suffix}`))
  return kind === undefined ? null : name.slice(prefix.length, -kind.suffix.length - 1)
}

function provenanceFrom(own: unknown, path: string): AdapterProvenance {
  if (!isJsonObject(own)) return {}
  const text = (key: string) => {
    const value = own[key] ?? undefined
    if (value === undefined || typeof value === 'string') return value
    throw new InputError('malformed-file', `${path}: expected a text for node_mora.${key} but found ${quoted(value)}.`)
  }
  const { labels } = own
  if (labels !== undefined && !(Array.isArray(labels) && labels.every((name) => typeof name === 'string')))
    throw new InputError('malformed-file', `${path}: expected a list of names for node_mora.labels.`)
  const hashes = { baseHash: text('baseHash'), baseFormat: text('baseFormat'), templateHash: text('templateHash') }
  const pooling = POOLINGS.find((known) => known === own.pooling)
  return { ...hashes, ...(labels !== undefined && { labels }), ...(pooling && { pooling }) }
}

/**
 * Bytes of a file that are read at once, since adapters have hundreds of small tensors, one behind the other; few enough that texts
 * which the model generates meanwhile do not wait.
 */
const BYTES_AT_ONCE = 2 ** 20

async function readTensors(
  { path, tensors }: Awaited<ReturnType<typeof readSafetensorsHeader>>,
  kinds: ReturnType<typeof tensorKinds>,
  pause?: () => Promise<void>,
): Promise<Map<string, StoredTensor>> {
  const integers = kinds.filter(({ dtype }) => dtype === 'int32')
  return withInputFile(path, async (handle, size) => {
    const read = new Map<string, StoredTensor>()
    let start = 0
    let stored: Uint8Array = new Uint8Array()
    for (const [name, { dtype, shape, offset, bytes }] of tensors) {
      if (offset + bytes > start + stored.length) {
        await pause?.()
        start = offset
        stored = await readExactly(handle, path, start, Math.min(Math.max(bytes, BYTES_AT_ONCE), size - start))
      }
      const data = new Uint8Array(stored.subarray(offset - start, offset - start + bytes)).buffer
      const values =
        dtype === 'float32'
          ? new Float32Array(data)
          : dtype === 'bfloat16' || dtype === 'float16'
            ? float32FromHalf(new Uint16Array(data), dtype)
            : dtype === 'int32' && integers.some(({ suffix }) => name.endsWith(`.${suffix}`))
              ? Float32Array.from(new Int32Array(data))
              : null
      if (!values) throw new InputError('malformed-file', `${path}: ${name} is stored as ${dtype}; expected floats.`)
      const bad = firstNonFinite(values)
      if (bad >= 0)
        throw new InputError('non-finite', `${path}: value ${bad} of ${name} is ${values[bad]}, not a finite number.`)
      read.set(name, { name, shape, values })
    }
    return read
  })
}

/** Returns the stored tensors of one layer by suffix, or the tensors that all layers share. */
export function layerTensors({ tensors }: StoredAdapter, layer: string): (suffix: string) => StoredTensor | null {
  return (suffix) => tensors.get(`${prefix}${layer}.${suffix}`) ?? tensors.get(`${root}${suffix}`) ?? null
}

/** The model that an adapter is written for. */
interface WrittenFor extends Pick<BaseModel, 'textPrefix'> {
  /** Name, a hub id or a path as the user gave it, without folders of this machine; and the commit of a hub id. */
  readonly base: { readonly name: string; readonly revision: string | null }
  readonly provenance: AdapterProvenance
  readonly fanInFanOut: boolean
}

/**
 * Writes both files, each atomically. `modules` are weights that were trained whole, in the layout of checkpoints, by their
 * names in the model; `base` is the model that the adapter belongs to.
 */
export async function writeAdapterFolder(
  folder: string,
  config: AdapterConfigBase,
  layers: ReadonlyMap<string, readonly TensorToStore[]>,
  modules: ReadonlyMap<string, Tensor>,
  { base, provenance, fanInFanOut, textPrefix }: WrittenFor,
): Promise<void> {
  const entries = new Map<string, SafetensorsEntry>()
  const add = (
    name: string,
    layer: string,
    shape: readonly number[],
    values: () => Promise<TensorValues>,
    dtype: 'float32' | 'int32' = 'float32',
  ) => entries.set(name, { name, dtype, shape: [...shape], data: async () => finiteBytes(await values(), layer) })
  for (const [name, tensor] of modules) {
    add(`${prefix}${name}`, name, tensor.shape, async () => (await tensor.data()) as Float32Array)
  }
  for (const [layer, tensors] of layers) {
    for (const { suffix, shared, shape, values, dtype } of tensors) {
      add(shared ? `${root}${suffix}` : `${prefix}${layer}.${suffix}`, layer, shape, values, dtype)
    }
  }
  const inOrder = [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  const method = adapterMethod(config.method)
  const { node_mora: ofMethod, ...entriesOfMethod } = writeEntries(method.peft, config)
  const own = JSON.stringify({ ...(isJsonObject(ofMethod) && ofMethod), ...provenance })
  await writeSafetensors(join(folder, weightsName), inOrder, { format: 'pt', node_mora: own })
  const json = {
    auto_mapping: null,
    base_model_name_or_path: base.name,
    inference_mode: true,
    layers_pattern: null,
    layers_to_transform: null,
    modules_to_save: config.modulesToSave.length > 0 ? config.modulesToSave : null,
    r: config.rank,
    rank_pattern: method.lacks?.includes('rankPattern') ? undefined : config.rankPattern,
    revision: base.revision,
    target_modules: targetsInFile(config.targetModules, [...layers.keys()], textPrefix),
    task_type: modules.has(SCORE_WEIGHT) ? 'SEQ_CLS' : 'CAUSAL_LM',
    ...entriesOfMethod,
    ...('fan_in_fan_out' in entriesOfMethod && { fan_in_fan_out: fanInFanOut }),
  }
  const sorted = Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)))
  await writeFileAtomic(join(folder, configName), foreignJson(sorted))
}

/** Returns the index of the first value that is not finite, or -1. A plain loop, since adapters have millions of values. */
function firstNonFinite(values: TensorValues): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return i
  return -1
}

function finiteBytes(floats: TensorValues, layer: string): Uint8Array {
  if (firstNonFinite(floats) >= 0) {
    throw new InputError('non-finite', `The adapter of ${layer} holds values that are not finite; it is not saved.`)
  }
  return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength)
}
