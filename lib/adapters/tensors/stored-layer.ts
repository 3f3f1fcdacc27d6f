import { RunError } from '../../common/errors.js'
import { elementsOf } from '../../native/addon.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, StoredTensor } from '../contract/adapter.js'
import { declared, isTrained, isTransposed, namesInFile } from './declared-tensors.js'

type Find = (suffix: string) => StoredTensor | null

/**
 * Returns the properties of a layer that the shapes of its stored tensors determine: its inputs and outputs (null if no tensor has
 * that length), the number of its trained values, and the method's own description of it.
 */
export function describeStoredLayer(method: AdapterMethod, config: AdapterConfigBase, name: string, tensor: Find) {
  const isTable = Object.values(method.tensors).some(({ inFileOfEmbeddings: end }) => end !== undefined && tensor(end))
  const layer = { name, inFeatures: 0, outFeatures: 0, ...(isTable && { role: 'embeddings' as const }) }
  const [inFeatures, outFeatures] = featuresInFile(method, config, layer, tensor)
  const sized = { ...layer, inFeatures: inFeatures ?? 0, outFeatures: outFeatures ?? 0 }
  const shapes = shapesInMemory(method, config, sized, tensor)
  const parameters = Object.entries(method.tensors)
    .filter(([, declaration]) => isTrained(declaration, config))
    .reduce((sum, [own]) => sum + elementsOf(shapes.get(own) ?? [0]), 0)
  const shapeOf = (own: string) => {
    requireDeclared(method, own, name)
    return shapes.get(own) ?? []
  }
  const described = method.describeLayer?.(shapeOf) ?? {}
  return { inFeatures, outFeatures, parameters, described }
}

/** @throws RunError `faulty-method` for a name that is not among the method's tensors */
function requireDeclared({ name, tensors }: AdapterMethod, tensor: string, layer: string): void {
  if (Object.hasOwn(tensors, tensor)) return
  throw new RunError(
    'faulty-method',
    `The method ${name} declares no tensor ${tensor} beside ${layer}; it declares ${Object.keys(tensors).join(', ')}.`,
  )
}

/** Returns the shapes in memory of a layer's stored tensors, by the names that the method declares. */
function shapesInMemory(
  method: AdapterMethod,
  config: AdapterConfigBase,
  layer: LayerFacts,
  tensor: Find,
): Map<string, readonly number[]> {
  if (method.files) {
    return new Map(declared(method, config, layer, [layer]).map(({ name, shape }) => [name, shape]))
  }
  return new Map(
    Object.entries(method.tensors).flatMap(([own, declaration]) => {
      const found = namesInFile(own, declaration, layer)
        .map(tensor)
        .find((stored) => stored)
      if (!found) return []
      return [[own, isTransposed(declaration, layer) ? found.shape.toReversed() : found.shape]]
    }),
  )
}

/** Two sizes that no option can produce. */
const SIZES = [2 ** 22 * 45, 2 ** 22 * 77] as const

/**
 * Finds inputs and outputs: the lengths of stored axes that, by the method's shapes, equal one and don't depend on the other.
 */
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
