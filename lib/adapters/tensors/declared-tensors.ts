/** The tensors that a method declares: those of one layer, how many values they have, and their names in files. */
import { elementsOf } from '../../native/addon.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, TensorDeclaration } from '../contract/adapter.js'

export type Declaration = TensorDeclaration<AdapterConfigBase>

/** A tensor beside one layer. */
export interface Declared {
  readonly name: string
  readonly shape: readonly number[]
  readonly declaration: Declaration
}

/** Those of one of an adapter's `layers`. */
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

export const isTrained = ({ frozen, shared, dtype }: Declaration): boolean => !frozen && !shared && dtype !== 'int32'

/** Number of trained values for a layer, without making it. */
export function countParameters(method: AdapterMethod, config: AdapterConfigBase, layer: LayerFacts): number {
  return declared(method, config, layer, [layer]).reduce(
    (sum, { declaration, shape }) => sum + (isTrained(declaration) ? elementsOf(shape) : 0),
    0,
  )
}

/** Number of values that the device keeps of a layer's tensors, trained or not; `layers` are all of the adapter. */
export function countValues(
  method: AdapterMethod,
  config: AdapterConfigBase,
  layer: LayerFacts,
  layers: readonly LayerFacts[],
): number {
  // What all share is counted with the first of them.
  return declared(method, config, layer, layers)
    .filter(({ declaration: { shared, dtype } }) => dtype !== 'int32' && (!shared || layer === layers[0]))
    .reduce((sum, { shape }) => sum + elementsOf(shape), 0)
}

/** Names of a layer's tensor in files. */
export function namesInFile(
  name: string,
  { inFile = name, inFileOfEmbeddings }: Declaration,
  { role }: LayerFacts,
): string[] {
  if (role === 'embeddings' && inFileOfEmbeddings !== undefined) return [inFileOfEmbeddings]
  return typeof inFile === 'string' ? [inFile] : [...inFile]
}

/** A tensor of a method in files, apart from any layer. */
export interface TensorKind {
  readonly suffix: string
  readonly shared: boolean
  readonly dtype: 'float32' | 'int32'
}

/** The ends of names in files that are a method's. */
export function tensorKinds({ tensors, files }: AdapterMethod): TensorKind[] {
  if (files) {
    return Object.entries(files).map(([suffix, { dtype = 'float32' }]) => ({ suffix, shared: false, dtype }))
  }
  return Object.entries(tensors).flatMap(([name, declaration]) => {
    const { inFile = name, inFileOfEmbeddings = [], shared = false, dtype = 'float32' } = declaration
    return [inFile, inFileOfEmbeddings].flat().map((suffix) => ({ suffix, shared, dtype }))
  })
}

/** Whether files hold a layer's tensor transposed. */
export function isTransposed({ transposed, inFileOfEmbeddings }: Declaration, { role }: LayerFacts): boolean {
  return transposed === true || (role === 'embeddings' && inFileOfEmbeddings !== undefined)
}
