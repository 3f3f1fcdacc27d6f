/** Units of a network: the matrices that a pass needs at one time, which sharding ranks gather together and read in turns. */
import type { ModelConfig } from './model-config.js'
import { linearGroups } from './plan.js'

interface NetworkUnit {
  readonly isBlock: boolean
  /** Names of matrices, in groups that are stacked in memory where possible. */
  readonly groups: readonly (readonly string[])[]
}

/** Returns the units: the tables, then each block, then the output head unless it is tied. */
export function networkUnits(config: Pick<ModelConfig, 'network' | 'tiedEmbeddings'>): NetworkUnit[] {
  const { network, tiedEmbeddings } = config
  const { embeddings, positions, perLayer, blocks, head } = network
  const table = (...names: readonly (string | null)[]): NetworkUnit => ({
    isBlock: false,
    groups: names.filter((name) => name !== null).map((name) => [`${name}.weight`]),
  })
  return [
    table(embeddings, positions, ...(perLayer ? [perLayer.table, perLayer.projection.name] : [])),
    ...blocks.map((block) => ({
      isBlock: true,
      groups: linearGroups(block).map((layers) => layers.map(({ name }) => `${name}.weight`)),
    })),
    ...(tiedEmbeddings ? [] : [table(head)]),
  ]
}

/** Returns a function that finds a parameter's unit by its name; null for parameters outside of matrices, such as norms. */
export function unitFinder(config: Pick<ModelConfig, 'network' | 'tiedEmbeddings'>): (name: string) => number | null {
  const layers = networkUnits(config).flatMap(({ groups }, unit) =>
    groups.flat().map((matrix) => ({ prefix: matrix.slice(0, -'weight'.length), unit })),
  )
  return (name) => layers.find(({ prefix }) => name.startsWith(prefix))?.unit ?? null
}

/**
 * Returns the units in the order in which a pass needs them: forward, then backward down to the first trained one.
 * @param first the first unit that is trained; null if none is
 * @param places indices of the blocks that the pass goes through
 */
export function unitsOfPass(
  { network, tiedEmbeddings }: Pick<ModelConfig, 'network' | 'tiedEmbeddings'>,
  first: number | null,
  places: readonly number[] = [...network.blocks.keys()],
): number[] {
  const blocks = places.map((place) => place + 1)
  const forward = [0, ...blocks, tiedEmbeddings ? 0 : network.blocks.length + 1]
  if (first === null) return forward
  const backward = [...(first === 0 ? [0] : []), ...blocks.filter((unit) => unit >= first)]
  return [...forward, ...backward.reverse()]
}
