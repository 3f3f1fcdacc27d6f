/** Describes an adapter from its files; the shapes of its layers also from the model, if it is available locally. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { layerTensors, readAdapterFolder } from '../../adapters/files/adapter-folder.js'
import { countInModules } from '../../adapters/files/modules-to-save.js'
import { adapterMethod } from '../../adapters/registry.js'
import { describeStoredLayer } from '../../adapters/tensors/stored-layer.js'
import { UsageError } from '../../common/errors.js'
import { formatHubId, type HubOptions, hubIdOf, locate, mayBeModel } from '../../hub/index.js'
import { readJsonObject } from '../../io/json.js'
import { ModelSource } from '../../models/index.js'
import { readConfigFile, TrainSchema } from '../../options/index.js'
import { runFolderOf } from '../../train/checkpoints/resume.js'
import { formatCount, formatFacts, formatTable } from '../terminal/format.js'

interface AdapterLayerFacts {
  name: string
  /** Null if neither the adapter's tensors nor a model show the size. */
  inFeatures: number | null
  outFeatures: number | null
  /** R of a square matrix [R, R]; null for methods without one. */
  squareSide: number | null
  /** Further properties that the method reports of its layers. */
  [fact: string]: string | number | null
}

interface AdapterFacts {
  method: string
  rank: number
  /** Null for options that the method lacks, such as alpha. */
  operator: string | number | null
  alpha: string | number | null
  dropout: number
  /** Number of trained values. */
  parameters: number
  /** Path or hub id of the model that it was trained on, according to its file. */
  baseModel: string | null
  layers: AdapterLayerFacts[]
  /** Modules that were trained whole. */
  modulesToSave: readonly string[]
}

export async function adapterFacts(
  adapter: string,
  modelPath: string | undefined,
  hub: HubOptions = {},
): Promise<AdapterFacts> {
  const stored = await readAdapterFolder(adapter, hub)
  const { config } = stored
  const base = await baseOf(stored.folder)
  const source = modelPath === undefined ? await sourceAtHand(baseOfRun(stored.folder) ?? base) : await open(modelPath)
  const method = adapterMethod(config.method)
  const found = new Map(
    stored.layers.map((name) => [name, describeStoredLayer(method, config, name, layerTensors(stored, name))]),
  )
  return {
    method: config.method,
    rank: config.rank,
    operator: null,
    alpha: null,
    ...method.describe?.(config),
    dropout: config.dropout,
    parameters: [...found.values()].reduce((sum, layer) => sum + layer.parameters, countInModules(stored)),
    baseModel: base,
    layers: [...found].map(([name, facts]) => layerFacts(name, facts, source)),
    modulesToSave: config.modulesToSave,
  }
}

/** Returns the path or hub id (with its commit) of the model that an adapter was trained on, according to its file. */
async function baseOf(folder: string): Promise<string | null> {
  const { base_model_name_or_path: base, revision } = await readJsonObject(join(folder, 'adapter_config.json'))
  if (typeof base !== 'string' || base === '') return null
  const id = typeof revision === 'string' ? hubIdOf(base) : null
  return id ? formatHubId({ ...id, revision: String(revision) }) : base
}

/** Returns the base from the `run.yaml` of the adapter's run, which has the local path too; null without such a file. */
function baseOfRun(folder: string): string | null {
  const path = join(runFolderOf(folder), 'run.yaml')
  if (!existsSync(path)) return null
  try {
    const { model } = readConfigFile(path, TrainSchema)
    return typeof model === 'string' ? model : null
  } catch {
    return null
  }
}

const open = (model: string) => ModelSource.open(model, { offline: true })

/** Opens a model that needs no download; null if there is none. */
async function sourceAtHand(model: string | null): Promise<ModelSource | null> {
  return model === null ? null : open(model).catch(() => null)
}

/** Returns an adapter's base that exists locally or on the hub. @throws UsageError `missing-option` */
export async function existingBase(adapter: string, hub: HubOptions): Promise<string> {
  const { path } = await locate(adapter, 'adapter', hub)
  const base = baseOfRun(path) ?? (await baseOf(path))
  if (base !== null && (existsSync(base) || mayBeModel(base))) return base
  throw new UsageError(
    'missing-option',
    `--model is needed: ${base === null ? `${adapter} does not say which model it belongs to` : `the base of ${adapter}, ${base}, is not found here`}.`,
  )
}

function layerFacts(
  name: string,
  { inFeatures, outFeatures, described }: ReturnType<typeof describeStoredLayer>,
  source: ModelSource | null,
): AdapterLayerFacts {
  const weight = source?.weights.has(`${name}.weight`) ? source.shape(`${name}.weight`) : null
  return {
    name,
    inFeatures: weight?.[1] ?? inFeatures,
    outFeatures: weight?.[0] ?? outFeatures,
    squareSide: null,
    ...described,
  }
}

export function describeAdapter(adapter: AdapterFacts): string {
  const { method, rank, dropout, parameters, baseModel, layers, modulesToSave, ...described } = adapter
  const facts: [string, string][] = [
    ['method', method],
    ['rank', String(rank)],
    ...knownNames(described).map((name): [string, string] => [name, String(described[name as keyof typeof described])]),
    ['dropout', String(dropout)],
    ['parameters', formatCount(parameters)],
    ['base model', baseModel ?? 'unknown'],
  ]
  if (modulesToSave.length > 0) facts.push(['trained whole', modulesToSave.join(', ')])
  const further = [...new Set(layers.flatMap(({ name, inFeatures, outFeatures, ...rest }) => knownNames(rest)))]
  const table = formatTable(
    ['layer', 'in', 'out', ...further.map(inWords)],
    layers.map((layer) => [
      layer.name,
      layer.inFeatures ?? '?',
      layer.outFeatures ?? '?',
      ...further.map((fact) => layer[fact] ?? '-'),
    ]),
  )
  return `${formatFacts(facts)}\n\n${table}`
}

/** Returns the names of the facts that are not null. */
const knownNames = (facts: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(facts).filter((name) => facts[name] !== null)

const inWords = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
