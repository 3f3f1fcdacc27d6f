/** The tensors that a method declares for one layer, their number of values, and their names in files. */
import { elementsOf } from '../../native/addon.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, TensorDeclaration } from '../contract/adapter.js'

/** A tensor of one layer. */
interface Declared {
  readonly name: string
  readonly shape: readonly number[]
  readonly declaration: TensorDeclaration
}

/** Returns the tensors of one of an adapter's `layers`. */
export function declared(
  { tensors }: AdapterMethod,
  config: AdapterConfigBase,
  layer: LayerFacts,
  layers: readonly LayerFacts[],
): Declared[] {
  return Object.entries(tensors).flatMap(([name, declaration]) => {
    const shape = declaration.shape(config, layer, layers)
    return shape ? [{ name, shape, declaration }] : []
  })
}

export function isTrained({ frozen, shared, dtype }: TensorDeclaration, config: AdapterConfigBase): boolean {
  return !(typeof frozen === 'function' ? frozen(config) : frozen) && !shared && dtype !== 'int32'
}

/** Returns the number of trained values for a layer, without making it. */
export function countParameters(method: AdapterMethod, config: AdapterConfigBase, layer: LayerFacts): number {
  return declared(method, config, layer, [layer]).reduce(
    (sum, { declaration, shape }) => sum + (isTrained(declaration, config) ? elementsOf(shape) : 0),
    0,
  )
}

/** Returns the number of a layer's values on the device, trained or not; `layers` are all of the adapter. */
export function countValues(
  method: AdapterMethod,
  config: AdapterConfigBase,
  layer: LayerFacts,
  layers: readonly LayerFacts[],
): number {
  // Shared tensors are counted with the first layer.
  return declared(method, config, layer, layers)
    .filter(({ declaration: { shared, dtype } }) => dtype !== 'int32' && (!shared || layer === layers[0]))
    .reduce((sum, { shape }) => sum + elementsOf(shape), 0)
}

/** Returns the names of a layer's tensor in files. */
export function namesInFile(
  name: string,
  { inFile = name, inFileOfEmbeddings }: TensorDeclaration,
  { role }: LayerFacts,
): string[] {
  if (role === 'embeddings' && inFileOfEmbeddings !== undefined) return [inFileOfEmbeddings]
  return typeof inFile === 'string' ? [inFile] : [...inFile]
}

/** Returns the suffixes of a method's tensor names in files, for every layer. */
export function tensorKinds({ tensors, files }: AdapterMethod) {
  if (files) {
    return Object.entries(files).map(([suffix, { dtype = 'float32' }]) => ({ suffix, shared: false, dtype }))
  }
  return Object.entries(tensors).flatMap(([name, declaration]) => {
    const { inFile = name, inFileOfEmbeddings = [], shared = false, dtype = 'float32' } = declaration
    return [inFile, inFileOfEmbeddings].flat().map((suffix) => ({ suffix, shared, dtype }))
  })
}

/** Whether files store a layer's tensor transposed. */
export function isTransposed({ transposed, inFileOfEmbeddings }: TensorDeclaration, { role }: LayerFacts): boolean {
  return transposed === true || (role === 'embeddings' && inFileOfEmbeddings !== undefined)
}
