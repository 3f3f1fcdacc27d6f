/** Decides which tensors a run trains, in the same way for a new run and a resumed one. */

import { isDeepStrictEqual } from 'node:util'
import type { AdapterConfigBase, TargetModules } from '../../adapters/contract/adapter.js'
import { SCORE_WEIGHT } from '../../adapters/contract/base-model.js'
import { isSelected } from '../../adapters/contract/patterns.js'
import { moduleOf, selectModules } from '../../adapters/files/modules-to-save.js'
import { newAdapterConfig } from '../../adapters/new-adapter.js'
import { type AdapterCost, costOfValues } from '../../adapters/planning/adapter-cost.js'
import { planAdapter } from '../../adapters/planning/adapter-plan.js'
import { matchingRank } from '../../adapters/planning/parameter-count.js'
import { adapterMethod, requireTrainable } from '../../adapters/registry.js'
import { UsageError } from '../../common/errors.js'
import { optionName, TheOption, theOption } from '../../common/option-names.js'
import type { Model } from '../../models/model.js'
import { bytesPerValue, elementsOf } from '../../native/addon.js'
import {
  type AdapterMethodName,
  describedFieldsOf,
  fullLearningRate,
  type Method,
  newAdapterOptions,
  type Operator,
  type TrainSettings,
} from '../../options/index.js'
import { type RestartPlan, restartPlan } from '../restart-plan.js'

type Notice = (message: string) => void

export interface TrainedPart {
  /** Name of the adapter in the model; null if the whole model is trained. */
  adapter: string | null
  /** The method and the adapter's actual options: given, read from its file, or defaults. */
  resolved: { method: Method; operator?: Operator; rank?: number; [option: string]: unknown }
  /** The default peak learning rate. */
  learningRate: number
  /** Null if nothing is merged during the run. */
  restarts: RestartPlan | null
}

/** The tensors to be trained, before they are created. */
export interface PlannedPart {
  /** Null for an adapter that exists, in the model or in a folder. */
  readonly cost: AdapterCost | null
  /** @param labels of the head that is trained too */
  make(labels?: readonly string[]): Promise<TrainedPart>
}

/**
 * Plans which tensors are trained: the active adapter, the one in the folder `adapter`, a new one, or every weight. Throws a
 * `UsageError` if options contradict an existing adapter.
 */
export function planModel(model: Model, options: TrainSettings, notice: Notice): PlannedPart {
  model.gradientCheckpointing = options.gradientCheckpointing
  model.compute = computeOf(model, options)
  if (options.mergeEvery !== undefined)
    requireFloats(model, `${TheOption('mergeEvery')} merges into`, 'train without it')
  const active = model.adapterSet.activeNames()
  if (active.length > 0) {
    const make: PlannedPart['make'] = async (labels) => {
      requireHead(model, labels, `the active adapter ${active[0]}`)
      return existingAdapter(model, active, options)
    }
    return { cost: null, make }
  }
  if (options.adapter !== undefined) {
    const make: PlannedPart['make'] = async (labels) => {
      const part = await adapterInFolder(model, options, notice)
      requireHead(model, labels, `the adapter ${options.adapter}`)
      return part
    }
    return { cost: null, make }
  }
  const wanted = newAdapterOptions(options)
  return wanted.method === 'full'
    ? everyWeight(model, options)
    : newAdapter(model, { ...wanted, method: wanted.method }, options)
}

/** Plans full training: float32 values replace the weights. */
function everyWeight(model: Model, { init, seed }: TrainSettings): PlannedPart {
  requireFloats(model, 'The method full trains', 'train an adapter')
  const { base, dtype } = model
  const count = [...base.weights.values()].reduce((sum, shape) => sum + elementsOf(shape), 0)
  const cost = costOfValues(count, dtype)
  return {
    cost: { ...cost, values: cost.values - bytesPerValue(dtype) * count },
    async make(labels) {
      addHead(model, labels, seed)
      model.trainAll()
      const learningRate = fullLearningRate(init !== undefined)
      return { adapter: null, resolved: { method: 'full' }, learningRate, restarts: null }
    },
  }
}

/** Throws if weights that are to be changed are quantised or sharded. */
function requireFloats({ quantised, dtype, shards }: Model, what: string, instead: string): void {
  if (shards) {
    throw new UsageError(
      'sharded-weights',
      `${what} the weights themselves, but the model is sharded over ranks: load it without shard, or ${instead}.`,
    )
  }
  if (!quantised?.kept) return
  const floats = quantised.onLoad
    ? `leave ${theOption('quantise')} out`
    : `give ${theOption('quantised', false)}, so that they become ${dtype}`
  throw new UsageError(
    'quantised-weights',
    `${what} the weights themselves, but the model's weights are kept in ${quantised.format}: ${floats}, or ${instead}.`,
  )
}

function newAdapter(
  model: Model,
  wanted: { method: AdapterMethodName; rank: number },
  options: TrainSettings,
): PlannedPart {
  const { method } = wanted
  const layers = model.adaptableLayers()
  const { matchParametersOf: budget, mergeEvery, seed } = options
  const rank = budget === undefined ? wanted.rank : matchingRank(budget, method, options, layers)
  // A run that is described by its own record names the head, which the model may not have yet.
  const modulesToSave = model.labels ? options.modulesToSave : options.modulesToSave?.filter((name) => name !== SCORE)
  const described = newAdapterConfig(method, newAdapterOptions({ ...options, method, rank, modulesToSave }))
  const config = adapterMethod(method).restart?.first?.(described, options) ?? described
  const restarts = mergeEvery !== undefined
  return {
    cost: planAdapter(config, layers, model.base, { dtype: model.dtype, restarts }).cost,
    async make(labels) {
      const name = freeName(model)
      addHead(model, labels, seed)
      await model.addAdapter(name, labels ? withHead(config) : config, { seed })
      return adapterPart(name, model.adapterSet.configs.get(name)!, options)
    },
  }
}

/** The module of the head of labels. */
const SCORE = moduleOf(SCORE_WEIGHT)

const withHead = (config: AdapterConfigBase): AdapterConfigBase => ({
  ...config,
  modulesToSave: [...new Set([...config.modulesToSave, SCORE])],
})

/** Adds the head of an objective's labels to a model that has none. */
function addHead(model: Model, labels: readonly string[] | undefined, seed: number): void {
  if (labels && !model.labels) model.addHead!(labels, { seed })
  else requireHead(model, labels, 'the model')
}

/** Throws if a model lacks the head of an objective's labels. */
function requireHead({ labels: has }: Model, labels: readonly string[] | undefined, whose: string): void {
  if (!labels) return
  if (!has) {
    throw new UsageError(
      'no-head',
      `The objective trains a head that scores texts, and ${whose} has none: give the model a head (addHead) and the adapter ${optionName('modulesToSave', ['score'])}, or merge the adapter into the model and train a new one.`,
    )
  }
  if (has.join('\n') === labels.join('\n')) return
  throw new UsageError(
    'other-labels',
    `The head of ${whose} has the ${has.length} labels ${has.join(', ')}, and the objective ${labels.length} others: ${labels.join(', ')}.`,
  )
}

async function adapterInFolder(model: Model, options: TrainSettings, onWarning: Notice): Promise<TrainedPart> {
  const { allowOtherBase, method, offline } = options
  const folder = options.adapter!
  const name = freeName(model)
  const own = Object.entries(options).filter(([key]) => method && Object.hasOwn(adapterMethod(method).options, key))
  const as = method && { ...Object.fromEntries(own), method }
  const config = await model.loadAdapter(folder, name, { allowOtherBase, offline, onWarning, as })
  requireSameOptions(model, options, config, `the adapter ${folder}`)
  return adapterPart(name, config, options)
}

function computeOf({ device, dtype }: Model, { compute }: TrainSettings): TrainSettings['compute'] {
  const { name, int8Products } = device.facts()
  if (compute === 'auto' || (int8Products && dtype !== 'float16')) return compute
  const why = int8Products
    ? 'products in 8 bits go with float32 and bfloat16, and the model was loaded with float16'
    : `${device.kind} (${name}) has no products in 8 bits: they take an x86 processor with VNNI or AMX`
  throw new UsageError('unfit-options', `${TheOption('compute')} is int8, but ${why}; leave the option out.`)
}

function adapterPart(name: string, config: AdapterConfigBase, options: TrainSettings): TrainedPart {
  const restarts = restartPlan(name, config, options)
  const learningRate =
    options.init === undefined ? adapterMethod(config.method).learningRate(config) : fullLearningRate(true)
  return { adapter: name, resolved: { ...optionsOf(config), ...restarts?.options }, learningRate, restarts }
}

function existingAdapter(model: Model, active: readonly string[], options: TrainSettings): TrainedPart {
  const [name, second] = active
  if (second !== undefined) {
    throw new UsageError(
      'several-adapters',
      `The model has ${active.length} active adapters (${active.join(', ')}): leave the one to train with setActiveAdapters.`,
    )
  }
  if (options.adapter !== undefined || options.init !== undefined) {
    const option = options.adapter === undefined ? 'init' : 'adapter'
    throw new UsageError(
      'unfit-options',
      `The model has the active adapter ${name}, so ${theOption(option)} is refused.`,
    )
  }
  const config = model.adapterSet.configs.get(name!)!
  requireSameOptions(model, options, config, `the active adapter ${name}`)
  return adapterPart(name!, config, options)
}

/** Throws if an option differs from the adapter's, or if the adapter cannot be trained. */
function requireSameOptions(model: Model, options: TrainSettings, config: AdapterConfigBase, whose: string) {
  if (options.matchParametersOf !== undefined) {
    throw new UsageError(
      'unfit-options',
      `${TheOption('matchParametersOf')} chooses the rank of a new adapter, but ${whose} has rank ${config.rank}: leave the option out, or start a new adapter.`,
    )
  }
  for (const layer of model.adaptableLayers())
    if (isSelected(config.targetModules, layer)) requireTrainable(config, layer)
  const is: Readonly<Record<string, unknown>> = { ...config }
  for (const option of describedFieldsOf(config.method)) {
    const given = (options as Readonly<Record<string, unknown>>)[option]
    if (given === undefined || given === is[option]) continue
    if (option === 'targetModules' && sameTargets(model, given as TargetModules, config.targetModules)) continue
    if (isDeepStrictEqual(given, is[option])) continue
    if (option === 'modulesToSave' && sameModules(model, given as string[], config.modulesToSave)) continue
    throw new UsageError(
      'unfit-options',
      `${TheOption(option)} is ${shown(given)}, but ${whose} has ${shown(is[option])}: leave the option out, or start a new adapter.`,
    )
  }
}

/** Whether both select the same layers. */
export function sameTargets(model: Model, one: TargetModules, other: TargetModules): boolean {
  return model.adaptableLayers().every((layer) => isSelected(one, layer) === isSelected(other, layer))
}

function sameModules({ base }: Model, given: readonly string[], whole: readonly string[]): boolean {
  const { names } = selectModules(given, base)
  return names.length === whole.length && names.every((name) => whole.includes(name))
}

function optionsOf(config: AdapterConfigBase): TrainedPart['resolved'] {
  const {
    method,
    targetModules,
    modulesToSave,
    permutation: _,
    ...rest
  } = config as AdapterConfigBase & { permutation?: unknown }
  const patterns = Object.entries(rest).filter(([name]) => name.endsWith('Pattern'))
  return {
    ...rest,
    ...Object.fromEntries(patterns.map(([name, of]) => [name, Object.keys(of).length > 0 ? of : undefined])),
    method: method as Method,
    // The adapter records the rank that resulted.
    matchParametersOf: undefined,
    modulesToSave: modulesToSave.length > 0 ? modulesToSave : undefined,
    targetModules: targetModules instanceof RegExp ? String(targetModules) : targetModules,
  }
}

/** Returns `default`, or another name if the model has an inactive adapter of that name. */
function freeName({ adapterSet }: Model): string {
  let name = 'default'
  for (let i = 2; adapterSet.configs.has(name); i++) name = `default-${i}`
  return name
}

function shown(value: unknown): string {
  if (value === undefined) return 'none'
  return typeof value === 'string' ? value : value instanceof RegExp ? String(value) : JSON.stringify(value)
}
