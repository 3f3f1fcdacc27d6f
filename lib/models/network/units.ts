/** What a pass needs of a network's matrices at one time: what ranks that hold them together gather, and read in turns. */
import type { ModelConfig } from './model-config.js'

/** Names of matrices that are one below the other in memory where they can be. */
export type GroupOfMatrices = readonly string[]

export interface NetworkUnit {
  readonly isBlock: boolean
  readonly groups: readonly GroupOfMatrices[]
}

/** The tables, then each block, then the output head where it is not the embeddings. */
export function networkUnits(config: Pick<ModelConfig, 'network' | 'tiedEmbeddings'>): NetworkUnit[] {
  const { network, tiedEmbeddings } = config
  const { embeddings, positions, blocks, head } = network
  const group = (...layers: readonly { name: string }[]) => layers.map(({ name }) => `${name}.weight`)
  const table = (...names: readonly (string | null)[]): NetworkUnit => ({
    isBlock: false,
    groups: names.filter((name) => name !== null).map((name) => [`${name}.weight`]),
  })
  return [
    table(embeddings, positions),
    ...blocks.map(({ attention, mlp }) => ({
      isBlock: true,
      groups: [group(...attention.projections), group(attention.output), group(...mlp.projections), group(mlp.down)],
    })),
    ...(tiedEmbeddings ? [] : [table(head)]),
  ]
}

/** Finds the unit with the matrix that a parameter belongs to, as its name says; null of others, such as norms. */
export function unitFinder(config: Pick<ModelConfig, 'network' | 'tiedEmbeddings'>): (name: string) => number | null {
  const layers = networkUnits(config).flatMap(({ groups }, unit) =>
    groups.flat().map((matrix) => ({ prefix: matrix.slice(0, -'weight'.length), unit })),
  )
  return (name) => layers.find(({ prefix }) => name.startsWith(prefix))?.unit ?? null
}

/**
 * The units in the order in which a pass needs them: forward, and backward as far as something is trained.
 * @param first the first unit of which something is trained; null where nothing is
 * @param places of the blocks that the pass goes through
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
