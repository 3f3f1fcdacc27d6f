/** What names rows: paths, hub ids, and rows that are already in memory. */
import { custom, isObject } from '../../common/arguments.js'

/** Rows in any form that a data file may have. They are read once, one after the other. */
export type Rows = Iterable<unknown> | AsyncIterable<unknown>

/** A file, a folder, a hub id, or `-`. */
export type PathSource =
  | string
  | {
      /** A file, a folder, a hub id, or `-` for the standard input. */
      path: string
      /** The source's share of all rows, in relation to the other sources' weights; above 0. */
      weight?: number
    }

/** Rows from memory. */
export interface RowSource {
  /** Rows in any form that a data file may have. */
  rows: Rows
  /** The source's share of all rows, in relation to the other sources' weights; above 0. */
  weight?: number
}

/** Where rows come from. With weights, sources are mixed: each has the share of the rows that its weight is of all weights. */
export type DataSource = PathSource | RowSource

/** One source or several. */
export type DataInput = DataSource | Rows | readonly (DataSource | Rows)[]

/** The sources that an input is; undefined of what is none. */
export function sourcesOf(input: unknown): DataSource[] | undefined {
  const single = sourceOf(input)
  if (single) return [single]
  if (!Array.isArray(input)) return isIterable(input) ? [{ rows: input }] : undefined
  const several = input.map((one) => sourceOf(one) ?? (isIterable(one) ? { rows: one } : undefined))
  if (several.every((source) => source !== undefined)) return several
  const areRows = several.every((source) => source === undefined) && isObject(input[0]) && !isRecord(input[0])
  return areRows ? [{ rows: input }] : undefined
}

function sourceOf(value: unknown): DataSource | undefined {
  if (typeof value === 'string') return value === '' ? undefined : value
  if (!isObject(value)) return undefined
  const { path, rows, weight, ...others } = value
  const isWeight = weight === undefined || (Number.isFinite(weight) && (weight as number) > 0)
  if (!isWeight || Object.keys(others).length > 0) return undefined
  const names = typeof path === 'string' && path !== '' && rows === undefined
  return names || (path === undefined && isIterable(rows)) ? (value as DataSource) : undefined
}

/** Whether it is what a run records of rows that it cannot bring back. */
const isRecord = ({ rows, sha256 }: Record<string, unknown>): boolean => rows !== undefined && sha256 !== undefined

function isIterable(value: unknown): value is Rows {
  return typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)
}

/** The schema of arguments that must be data. */
export const someData = custom(
  'a path or hub id, rows (an array, an iterable or an async iterable), or a list of these',
  (value) => sourcesOf(value) !== undefined,
)

export const sourceWeight = (source: DataSource): number | undefined =>
  typeof source === 'string' ? undefined : source.weight

/** The paths and hub ids among sources. */
export function pathsOf(sources: readonly (DataSource | RecordedSource)[] = []): string[] {
  return sources.flatMap((source) => {
    if (typeof source === 'string') return [source]
    return 'path' in source ? [source.path] : []
  })
}

/** The same sources, with another path in place of each. */
export async function withPaths(
  sources: readonly DataSource[],
  replace: (path: string) => Promise<string>,
): Promise<DataSource[]> {
  const replaced: DataSource[] = []
  for (const source of sources) {
    if (typeof source === 'string') replaced.push(await replace(source))
    else replaced.push('path' in source ? { ...source, path: await replace(source.path) } : source)
  }
  return replaced
}

/** What a run keeps of a source: of rows from memory, how many there were and the sha256 of their JSON, a line each. */
export type RecordedSource =
  | PathSource
  | {
      /** How many rows there were. */
      rows: number
      /** sha256, hexadecimal, of the rows' JSON, a line each. */
      sha256: string
      /** The source's share of all rows, in relation to the other sources' weights. */
      weight?: number
    }

/** A recorded source for people. */
export function describeSource(source: RecordedSource, pathName: (path: string) => string = (path) => path): string {
  if (typeof source === 'string') return pathName(source)
  const name =
    'path' in source
      ? pathName(source.path)
      : `${source.rows.toLocaleString('en-US')} rows from memory (sha256 ${source.sha256.slice(0, 16)})`
  return source.weight === undefined ? name : `${name}, weight ${source.weight}`
}
