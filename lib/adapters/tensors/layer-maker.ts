/** Makes an adapter's layers from the tensors that its method declares, fresh or from files. */
import { InputError, RunError, UsageError } from '../../common/errors.js'
import { randomStream } from '../../common/random.js'
import { elementsOf } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import { Parameter } from '../../tensor/parameter.js'
import { allOrNothing } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { transposed } from '../../tensor/transpose.js'
import type { Weight } from '../../tensor/weight.js'
import type {
  AdapterConfigBase,
  AdapterMethod,
  LayerFacts,
  LayerOptions,
  LayerTensors,
  StoredTensor,
  TensorDeclaration,
  TensorToStore,
  TensorValues,
} from '../contract/adapter.js'
import { requireValues } from '../contract/checked-method.js'
import { rankOf } from '../contract/patterns.js'
import { declared, isTrained, isTransposed, namesInFile } from './declared-tensors.js'

/** The tensors that each layer was made from. */
const tensorsOf = new WeakMap<LayerAdapter, ReadonlyMap<string, Parameter | Int32Array>>()

/** Makes the layers of one adapter. Shared tensors are made with the first layer. */
export class LayerMaker {
  /**
   * The shared tensors of the layer made last: other layers have views of the same memory, which is freed with the last
   * view.
   */
  readonly #shared = new Map<string, Parameter>()

  constructor(
    readonly method: AdapterMethod,
    readonly config: AdapterConfigBase,
    /** All layers of the adapter. */
    readonly layers: readonly LayerFacts[],
  ) {}

  /** Makes a fresh layer for a weight [d, k]; a promise if computing its values takes long. */
  create(options: LayerOptions, seed: number, weight: Weight): LayerAdapter | Promise<LayerAdapter> {
    const { method, config } = this
    const { layer } = options
    method.requireFit?.(config, layer)
    if (method.initial) {
      return method.initial(config, layer, weight).then((values) => this.#make(options, (name) => values[name]))
    }
    return this.#make(options, (name, { initial, shared }, shape) => {
      const key = shared ? `${method.name} ${name}` : `${layer.name}.${name}`
      return initial?.({ config, layer, shape, random: randomStream(seed, 'init', key), weight })
    })
  }

  /** Makes a layer from a file's tensors; `tensor` returns one by its suffix, or null. */
  read(options: LayerOptions, tensor: (suffix: string) => StoredTensor | null): LayerAdapter {
    const { method, config } = this
    const { layer } = options
    method.requireFit?.(config, layer)
    const rank = rankOf(config, layer)
    if (method.files) {
      const split = Object.entries(method.files).map(([suffix, file]) =>
        file.split(requireShape(tensor(suffix), suffix, file.shape(config, layer), layer, rank), config, layer),
      )
      const values: Readonly<Record<string, TensorValues>> = Object.assign({}, ...split)
      return this.#make(options, (name) => values[name])
    }
    return this.#make(options, (name, declaration, shape) => {
      const names = namesInFile(name, declaration, layer)
      const transposedInFile = isTransposed(declaration, layer)
      const inFile = transposedInFile ? shape.toReversed() : shape
      const found = names.flatMap((suffix) => tensor(suffix) ?? [])
      if (declaration.shared && found.length === 0) throw withoutShared(names[0]!, method.name)
      const [first, ...others] = (found.length > 0 ? found : [null]).map((stored) =>
        requireShape(stored, names[0]!, inFile, layer, rank),
      )
      if (others.some((other) => !sameBits(first!, other))) {
        throw new InputError(
          'unfit-adapter',
          `The adapter's ${names.join(' and ')} of ${layer.name} differ, but are one tensor of ${method.name}.`,
        )
      }
      if (declaration.dtype === 'int32') return Int32Array.from(first!)
      return transposedInFile ? transposed(first!, inFile[0]!, inFile[1]!) : first!
    })
  }

  #make(
    options: LayerOptions,
    values: (
      name: string,
      declaration: TensorDeclaration,
      shape: readonly number[],
    ) => TensorValues | Tensor | undefined,
  ): LayerAdapter {
    const { method, config } = this
    return allOrNothing(() => {
      const tensors = new Map<string, Parameter | Int32Array>()
      for (const { name, shape, declaration } of declared(method, config, options.layer, this.layers)) {
        const shared = this.#shared.get(name)
        const { dtype } = declaration
        const given = shared ? shared.view(shape) : values(name, declaration, shape)
        const place = `its tensor ${name} beside ${options.layer.name}`
        const first = given === undefined ? given : requireValues(given, method.name, place, { shape, dtype })
        if (dtype === 'int32') tensors.set(name, (first as Int32Array | undefined) ?? new Int32Array(elementsOf(shape)))
        else {
          const tensor = this.#parameter(name, declaration, options, shape, first)
          if (declaration.shared) this.#shared.set(name, tensor)
          tensors.set(name, tensor)
        }
      }
      const made = method.layer(config, options, ownTensors(method.name, options.layer.name, tensors))
      tensorsOf.set(made, tensors)
      return made
    })
  }

  #parameter(
    name: string,
    declaration: TensorDeclaration,
    { layer, device }: LayerOptions,
    shape: readonly number[],
    first: TensorValues | Tensor | undefined,
  ): Parameter {
    const values = first ?? Tensor.zeros(shape, { device })
    const tensor = values instanceof Tensor ? values : Tensor.from(values, shape, { device })
    const parameter = new Parameter(declaration.shared ? name : `${layer.name}.${name}`, tensor)
    parameter.learningRateRatio = declaration.learningRateRatio?.(this.config) ?? 1
    return isTrained(declaration, this.config) ? parameter : parameter.freeze()
  }
}

function ownTensors(method: string, layer: string, tensors: ReadonlyMap<string, Parameter | Int32Array>): LayerTensors {
  const own = <Kind>(name: string, Class: abstract new (...args: never) => Kind, dtype: string): Kind => {
    const tensor = tensors.get(name)
    if (tensor instanceof Class) return tensor
    const declared = [...tensors.keys()].join(', ')
    throw new RunError(
      'faulty-method',
      `The method ${method} declares no tensor ${name} of ${dtype} beside ${layer}; it declares ${declared}.`,
    )
  }
  return {
    has: (name) => tensors.has(name),
    parameter: (name) => own(name, Parameter, 'float32'),
    integers: (name) => own(name, Int32Array, 'int32'),
  }
}

/** Returns the tensors that a layer of a `LayerMaker` was made from, frozen ones too. */
export function tensorsOfLayer(layer: LayerAdapter): Parameter[] {
  return [...tensorsOf.get(layer)!.values()].filter((tensor) => tensor instanceof Parameter)
}

/** Returns the tensors to store for a layer that a `LayerMaker` made. */
export function tensorsToStore(
  method: AdapterMethod,
  config: AdapterConfigBase,
  facts: LayerFacts,
  layers: readonly LayerFacts[],
  layer: LayerAdapter,
): TensorToStore[] {
  const tensors = tensorsOf.get(layer)!
  const valuesOf = async (name: string) => {
    const tensor = tensors.get(name)!
    return tensor instanceof Int32Array ? tensor : await tensor.data()
  }
  if (method.files) {
    return Object.entries(method.files).map(([suffix, file]) => ({
      suffix,
      shape: file.shape(config, facts),
      async values() {
        const all = await Promise.all([...tensors.keys()].map(async (name) => [name, await valuesOf(name)]))
        const joined = file.join(Object.fromEntries(all), config, facts)
        const { dtype } = file
        return requireValues(joined, method.name, `files.${suffix}.join`, { shape: file.shape(config, facts), dtype })
      },
    }))
  }
  return declared(method, config, facts, layers).flatMap(({ name, shape, declaration }): TensorToStore[] => {
    const { shared, dtype } = declaration
    const transposedInFile = isTransposed(declaration, facts)
    const [rows, columns] = shape as [number, number]
    const values = async () => (transposedInFile ? transposed(await valuesOf(name), rows, columns) : valuesOf(name))
    const inFile = transposedInFile ? [columns, rows] : shape
    return namesInFile(name, declaration, facts).map((suffix) => ({ suffix, shared, dtype, shape: inFile, values }))
  })
}

/** Returns the values of a stored tensor; throws an error with both shapes unless it has the given one. */
function requireShape(
  stored: StoredTensor | null,
  suffix: string,
  shape: readonly number[],
  layer: LayerFacts,
  rank: number,
): Float32Array {
  if (!stored) throw new InputError('unfit-adapter', `The adapter has no ${suffix} for ${layer.name}.`)
  if (stored.shape.join() === shape.join()) return stored.values
  throw new UsageError(
    'unfit-adapter',
    `${stored.name} is [${stored.shape.join(', ')}], but rank ${rank} for ` +
      `${layer.inFeatures} → ${layer.outFeatures} needs [${shape.join(', ')}].`,
  )
}

function withoutShared(name: string, method: string): InputError {
  return new InputError(
    'unfit-adapter',
    `The adapter lacks ${name}, the random matrix of ${method} that all its layers share, which only PyTorch's generator makes again from the seed: load it with PEFT and save it with save_projection=True.`,
  )
}

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength)
  return bytesOf(a).equals(bytesOf(b))
}
