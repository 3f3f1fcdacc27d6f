import { check, having } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { isJsonObject } from '../io/json.js'
import { type AdapterConfigBase, type AdapterMethod, type LayerFacts, MERGE_WITH_PEFT } from './contract/adapter.js'
import { checkedMethod } from './contract/checked-method.js'
import { readEntries } from './contract/peft-entries.js'
import OWN_METHODS from './own-methods.js'

export type AdapterMethodName = (typeof OWN_METHODS)[number]['name']

/** Names of the library's methods, in the order of help. */
export const ADAPTER_METHODS: readonly AdapterMethodName[] = OWN_METHODS.map(({ name }) => name)

/** Registered methods as they were passed, without checks. */
const registered = new Set<AdapterMethod>(OWN_METHODS)
const methods: AdapterMethod[] = [...registered].map(checkedMethod)

/** Returns the library's methods and the registered ones. */
export const allMethods = (): readonly AdapterMethod[] => methods

const aMethod = having('a method of adapters', 'name', 'options', 'config', 'tensors', 'layer', 'peft')

const aDeclaration = having('a declaration with a shape', 'shape')

/**
 * Registers a method from outside of the library by its name, for configurations and adapter files. `train` registers the
 * method that it receives. Registering the same method again does nothing.
 * @throws UsageError `bad-value` if another method of that name exists
 */
export function registerMethod(method: AdapterMethod): void {
  check({ method }, { method: aMethod })
  if (registered.has(method)) return
  if (method.name === 'full' || methods.some(({ name }) => name === method.name)) {
    throw new UsageError('bad-value', `There is a method ${method.name} already; give yours another name.`)
  }
  for (const [name, declaration] of Object.entries(method.tensors)) {
    check({ [`tensors.${name}`]: declaration }, { [`tensors.${name}`]: aDeclaration })
  }
  registered.add(method)
  methods.push(checkedMethod(method))
}

/** Returns the names of methods that can be merged and restarted, and have this option of restarts. */
export function restartingMethods(option: string): string[] {
  const able = methods.filter(({ restart }) => {
    return restart && (option === 'mergeEvery' || Object.hasOwn(restart.options ?? {}, option))
  })
  return able.map(({ name }) => name)
}

export function adapterMethod(name: string): AdapterMethod {
  const method = methods.find((candidate) => candidate.name === name)
  if (method) return method
  throw new UsageError(
    'unknown-method',
    `Method ${name} is not available; available: ${methods.map((m) => m.name).join(', ')}.`,
  )
}

/** Throws if a method does not support a layer. */
export function requireForm(config: AdapterConfigBase, { name, role }: LayerFacts): void {
  if (role !== 'embeddings' || adapterMethod(config.method).embeddings) return
  const able = methods.filter(({ embeddings }) => embeddings).map((method) => method.name)
  throw new UsageError(
    'no-form',
    `Method ${config.method} has no form for the embeddings (${name}), only ${able.join(' and ')} have; ` +
      `leave them out, or train them whole (${optionName('modulesToSave')}).`,
  )
}

/** The same, and throws for dropout in the embeddings or the head, whose inputs are never dropped. */
export function requireTrainable(config: AdapterConfigBase, layer: LayerFacts): void {
  requireForm(config, layer)
  if (config.dropout === 0 || layer.role === undefined) return
  throw new UsageError(
    'no-form',
    `An adapter of ${layer.name} is trained without dropout: leave it out of the targets, or give dropout 0 (of an adapter that exists, in its adapter_config.json).`,
  )
}

const OWN_METHOD = '; a method of your own is registered first (registerMethod of node-mora/adapters)'

/** Returns the method and configuration that an `adapter_config.json` describes. */
export function configFromPeft(json: Readonly<Record<string, unknown>>, source: string): AdapterConfigBase {
  const method = methods.find(
    (candidate) => candidate.peft.peft_type === json.peft_type && (candidate.isOwnFile?.(json, source) ?? true),
  )
  if (method) return method.config(readEntries(method, json, source))
  if (json.peft_type === 'LILY') {
    throw new UsageError(
      'unknown-method',
      `${source} has peft_type "LILY", which is not available: its router averages over all tokens of a call, so that a token sees later ones and rows of a batch change each other.`,
    )
  }
  const own = isJsonObject(json.node_mora) ? json.node_mora.method : undefined
  const what =
    own === undefined ? `peft_type ${JSON.stringify(json.peft_type) ?? 'missing'}` : `the method ${JSON.stringify(own)}`
  const wayOut = /PROMPT|PREFIX|P_TUNING|CPT|CARTRIDGE|XLORA|POLY/.test(what) ? '' : `: ${MERGE_WITH_PEFT}${OWN_METHOD}`
  throw new UsageError('unknown-method', `${source} has ${what}, which is not available${wayOut}.`)
}
