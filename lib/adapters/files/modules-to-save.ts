/** Modules that are trained whole beside an adapter: the weights that names stand for, here and in PEFT's files. */
import { UsageError } from '../../common/errors.js'
import { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import { transposed } from '../../tensor/transpose.js'
import { MERGE_WITH_PEFT, type StoredTensor } from '../contract/adapter.js'
import type { BaseModel } from '../contract/base-model.js'
import { isTarget } from '../contract/patterns.js'
import { type StoredAdapter, unfitAdapter } from './stored-adapter.js'

const words: Readonly<Record<string, (module: string) => boolean>> = {
  embeddings: (module) => isTarget(['embed_tokens', 'wte', 'wpe'], module),
  norms: (module) => /norm$|(^|\.)ln_\w+$/.test(module),
  head: (module) => module === 'lm_head',
}

/** Modules of a model that are trained whole. */
interface SelectedModules {
  /** The names for `adapter_config.json`. */
  readonly names: readonly string[]
  /** Names of the modules' weights; for tied weights, the name of the one that exists. */
  readonly weights: readonly string[]
}

/**
 * Returns the modules that names stand for in a model. Naming one of two tied modules selects both. Throws a UsageError with
 * the candidates if a name matches no module.
 */
export function selectModules(names: readonly string[], base: BaseModel): SelectedModules {
  const modules = modulesOf(base)
  const fits = (name: string, module: string): boolean =>
    Object.hasOwn(words, name) ? words[name]!(module) : isTarget([name], module)
  const unmatched = names.filter((name) => !modules.some((module) => fits(name, module)))
  if (unmatched.length > 0) {
    const candidates = [...Object.keys(words), ...new Set(modules.map(lastSegment))]
    throw new UsageError(
      'no-module',
      `Modules to save ${unmatched.join(', ')} match no module of the model; candidates: ${candidates.join(', ')}.`,
    )
  }
  return described(
    modules.filter((module) => names.some((name) => fits(name, module))),
    base,
  )
}

/**
 * Returns the tensors that replace weights of the model, by the weights' names. Throws a UsageError if they do not fit: the
 * model lacks a module, a module is incomplete, or tied weights were trained apart.
 */
export function modulesOfAdapter(
  adapter: StoredAdapter,
  base: BaseModel,
): SelectedModules & { readonly tensors: ReadonlyMap<string, StoredTensor> } {
  const { modules, copies, tiesWeights } = adapter
  const tensors = new Map<string, StoredTensor>()
  for (const [name, stored] of modules) {
    const weight = base.ties.get(name) ?? name
    const tensor = base.transposed.has(weight) ? transposedModule(stored) : stored
    const shape = base.weights.get(weight)
    if (!shape) throw unfitAdapter(adapter, `the model has no ${name}`)
    requireShape(adapter, tensor, shape)
    const other = tensors.get(weight)
    if (other && !sameValues(other, tensor))
      throw unfitAdapter(adapter, `${other.name} and ${tensor.name} differ, but are tied in it: ${MERGE_WITH_PEFT}`)
    tensors.set(weight, tensor)
  }
  for (const [name, weight] of base.ties) {
    const [present, absent] = modules.has(name) ? [name, weight] : [weight, name]
    // PEFT stores both where it has tied them; GPT-2's head it leaves as it was.
    const isTied = tiesWeights && !(base.transposed.size > 0 && !copies.some((copy) => copy.weight === absent))
    if (modules.has(present) && !modules.has(absent) && !isTied) {
      throw unfitAdapter(
        adapter,
        `it trained ${present} apart from ${absent}, but they are tied in it: ${MERGE_WITH_PEFT}`,
      )
    }
  }
  const selected = described([...tensors.keys()].map(moduleOf), base)
  const missing = selected.weights.find((weight) => !tensors.has(weight))
  if (missing) throw unfitAdapter(adapter, `it has a part of ${moduleOf(missing)} but not ${missing}`)
  return { ...selected, tensors }
}

/**
 * Throws unless tables that a file has beside its modules change nothing: they are the base's, or tables of a module that it
 * trained, which PEFT repeats under the name of the tied module.
 */
export async function requireSameTables(adapter: StoredAdapter, base: BaseModel): Promise<void> {
  const original = (name: string) => base.ties.get(name) ?? name
  for (const { weight: name, tensor, isOriginal } of adapter.copies) {
    const weight = original(name)
    const shape = base.weights.get(weight)
    if (!shape) throw unfitAdapter(adapter, `it holds ${tensor.name}, and the model has no ${name}`)
    requireShape(adapter, tensor, shape)
    if (isOriginal) continue
    const trained = [...adapter.modules].find(([module]) => original(module) === weight)?.[1]
    const values = trained?.values ?? (await base.values?.(weight))
    if (values && sameValues({ values }, tensor)) continue
    const what = trained ? `${trained.name}, to which it is tied` : "the model's, and modules_to_save does not name it"
    throw unfitAdapter(adapter, `it holds ${tensor.name}, which differs from ${what}: ${MERGE_WITH_PEFT}`)
  }
}

function requireShape(adapter: StoredAdapter, { name, shape: own }: StoredTensor, shape: readonly number[]): void {
  if (shape.join() === own.join()) return
  const [more, isTable] = [own[0]! - shape[0]!, own.length === 2 && own[1] === shape[1]]
  const tokens = `it has ${Math.abs(more)} tokens ${more > 0 ? 'more' : 'less'} than the model`
  const why = `${name} is [${own.join(', ')}], and the model's [${shape.join(', ')}]`
  throw unfitAdapter(adapter, isTable ? `${tokens} (${why}): ${MERGE_WITH_PEFT}` : why)
}

/**
 * Makes a weight of the model a parameter, which takes over the values. Norms and biases, the weights with one axis, are never
 * decayed, as in transformers' Trainer.
 */
export function trainedWeight(name: string, values: Tensor): Parameter {
  const parameter = new Parameter(name, values)
  parameter.decays = values.shape.length > 1
  return parameter
}

/** Returns the names under which files store a weight: all tied ones, so that programs which untie them read the same. */
export function moduleNamesInFile(weight: string, { ties }: BaseModel): string[] {
  return [weight, ...[...ties].filter(([, original]) => original === weight).map(([name]) => name)]
}

/**
 * Returns the number of values in modules that were trained whole; embeddings and a tied head, stored under both names, count
 * once.
 */
export function countInModules({ modules }: StoredAdapter): number {
  const all = [...modules.values()].reduce((sum, { values }) => sum + values.length, 0)
  const head = modules.get('lm_head.weight')
  const isTied = head && [...modules.values()].some((module) => module !== head && sameValues(module, head))
  return isTied ? all - head.values.length : all
}

function sameValues(a: Pick<StoredTensor, 'values'>, b: Pick<StoredTensor, 'values'>): boolean {
  return a.values.length === b.values.length && a.values.every((value, i) => Object.is(value, b.values[i]))
}

/** Whether a name of `modules_to_save` selects a module in PEFT: its path ends with the name. */
export function isSavedModule(names: readonly string[], module: string): boolean {
  return names.some((name) => module.endsWith(name))
}

/** Transposes a stored matrix. */
function transposedModule({ name, shape, values }: StoredTensor): StoredTensor {
  const [rows, columns] = shape as [number, number]
  return { name, shape: [columns, rows], values: transposed(values, rows, columns) }
}

export const moduleOf = (weight: string): string => weight.replace(/\.(weight|bias)$/, '')

const lastSegment = (module: string): string => module.split('.').at(-1)!

function modulesOf({ weights, ties }: BaseModel): string[] {
  const trained = [...weights.keys(), ...ties.keys()].filter((name) => moduleOf(name) !== name)
  return [...new Set(trained.map(moduleOf))]
}

/** Returns modules and those tied to them, under the shortest names that select exactly these in PEFT. */
function described(modules: readonly string[], base: BaseModel): SelectedModules {
  const weights = [...base.weights.keys(), ...base.ties.keys()].filter((name) => modules.includes(moduleOf(name)))
  const originals = new Set(weights.map((name) => base.ties.get(name) ?? name))
  const all = new Set([...originals].flatMap((weight) => moduleNamesInFile(weight, base)).map(moduleOf))
  const names = [...all].map((module) => {
    const short = lastSegment(module)
    return modulesOf(base).every((other) => !isSavedModule([short], other) || all.has(other)) ? short : module
  })
  return { names: [...new Set(names)], weights: [...originals] }
}
