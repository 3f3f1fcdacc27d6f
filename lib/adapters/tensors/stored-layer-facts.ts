import { elementsOf } from '../../native.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, StoredTensor } from '../contract/adapter.js'
import { countParameters, declared, isTrained, isTransposed, namesInFile } from './declared-tensors.js'

type Find = (suffix: string) => StoredTensor | null

/** What the stored tensors of a layer tell of it, from their shapes alone. */
export interface StoredLayerFacts {
  /** Null where no tensor has as many rows or columns. */
  readonly inFeatures: number | null
  readonly outFeatures: number | null
  /** Trained values. */
  readonly parameters: number
}

export function storedLayerFacts(
  method: AdapterMethod,
  config: AdapterConfigBase,
  name: string,
  tensor: Find,
): StoredLayerFacts {
  const isTable = Object.values(method.tensors).some(({ inFileOfEmbeddings: end }) => end !== undefined && tensor(end))
  const layer = { name, inFeatures: 0, outFeatures: 0, ...(isTable && { role: 'embeddings' as const }) }
  const [inFeatures, outFeatures] = featuresInFile(method, config, layer, tensor)
  const parameters = method.files
    ? countParameters(method, config, { ...layer, inFeatures: inFeatures ?? 0, outFeatures: outFeatures ?? 0 })
    : Object.entries(method.tensors)
        .filter(([, declaration]) => isTrained(declaration))
        .flatMap(
          ([own, declaration]) =>
            namesInFile(own, declaration, layer)
              .map(tensor)
              .find((found) => found) ?? [],
        )
        .reduce((sum, { shape }) => sum + elementsOf(shape), 0)
  return { inFeatures, outFeatures, parameters }
}

/** Two sizes that no option makes. */
const SIZES = [2 ** 22 * 45, 2 ** 22 * 77] as const

/** Inputs and outputs: lengths of stored axes that the method's shapes give for either, whatever the other one is. */
function featuresInFile(method: AdapterMethod, config: AdapterConfigBase, layer: LayerFacts, tensor: Find) {
  const axesFor = (inFeatures: number, outFeatures: number): [string, readonly number[]][] => {
    const sized = { ...layer, inFeatures, outFeatures }
    if (method.files) return Object.entries(method.files).map(([suffix, file]) => [suffix, file.shape(config, sized)])
    return declared(method, config, sized, [sized]).flatMap(({ name, shape, declaration }) => {
      if (declaration.shared) return []
      const inFile = isTransposed(declaration, layer) ? shape.toReversed() : shape
      return namesInFile(name, declaration, layer).map((suffix): [string, readonly number[]] => [suffix, inFile])
    })
  }
  const [one, other] = [axesFor(SIZES[0], SIZES[1]), axesFor(SIZES[1], SIZES[0])]
  const lengthOf = (first: number, second: number): number | null => {
    for (const [at, [suffix, shape]] of one.entries()) {
      const axis = shape.findIndex((length, i) => length === first && other[at]![1][i] === second)
      const length = axis < 0 ? undefined : tensor(suffix)?.shape[axis]
      if (length !== undefined) return length
    }
    return null
  }
  return [lengthOf(SIZES[0], SIZES[1]), lengthOf(SIZES[1], SIZES[0])] as const
}
