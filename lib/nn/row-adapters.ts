import type { Destination, Part } from '../tensor/destination.js'
import type { Weight } from '../tensor/weight.js'
import type { LayerAdapter } from './layer-adapter.js'
import type { LinearInput } from './linear-input.js'
import { MOST_SQUARE_ROWS, type SquareRows, squareContribution } from './square-form.js'

/** One adapter of some rows at one layer. */
interface AdaptedRows {
  readonly rows: LinearInput['rows'][number]
  readonly layer: LayerAdapter
  readonly factor: number
}

/** The layer whose columns the rows' adapters add to. */
interface AdaptedLayer {
  readonly adapters: ReadonlyMap<string, { readonly layer: LayerAdapter }>
  readonly weight: Weight
}

/** Returns the parts that the rows' own adapters add to a layer's columns. */
export function partsOfRows(
  { adapters, weight }: AdaptedLayer,
  columns: { from: number; to: number },
  input: LinearInput,
): Part[] {
  const byRows = input.rows.map((rows): AdaptedRows[] =>
    [...rows.factors].flatMap(([name, factor]) => {
      const layer = adapters.get(name)?.layer
      return layer ? [{ rows, layer, factor }] : []
    }),
  )
  const most = Math.max(0, ...byRows.map(({ length }) => length))
  // A row's adapters add in their order, each in one place, where no other one adds to the row.
  const places = Array.from({ length: most }, (_, place) => byRows.flatMap((all) => all[place] ?? []))
  return places.flatMap(together).map((group): Part => {
    const [first] = group as [AdaptedRows]
    const [from, to] = [first.rows.from, group.at(-1)!.rows.to]
    const write = ({ target }: Destination) => {
      const into = { target: target.rows(from, to), accumulate: true }
      if (group.length === 1) first.layer.forward(first.rows.input, first.factor, into, weight)
      else squareContribution(input.ofRows(from, to), squaresOf(group, from), into)
      return target
    }
    return { ...columns, write }
  })
}

/** Returns the groups of rows, in their order, whose adapters have square forms of one key; each other adapter is alone. */
function together(all: readonly AdaptedRows[]): AdaptedRows[][] {
  const groups: AdaptedRows[][] = []
  const ofKey = new Map<string, AdaptedRows[]>()
  for (const one of all) {
    const isFew = one.rows.to - one.rows.from <= MOST_SQUARE_ROWS
    const key = isFew ? one.layer.square?.key : undefined
    const known = key === undefined ? undefined : ofKey.get(key)
    if (known) known.push(one)
    else groups.push([one])
    if (key !== undefined && !known) ofKey.set(key, groups.at(-1)!)
  }
  return groups
}

/** Returns the rows of a group from its first row on. */
function squaresOf(group: readonly AdaptedRows[], first: number): SquareRows[] {
  return group.flatMap(({ rows: { from, to }, factor, layer: { square } }) =>
    square ? [{ from: from - first, to: to - first, factor, form: square }] : [],
  )
}
