/** Sources of rows: paths, hub ids, and rows in memory. */
import { custom, isObject } from '../../common/arguments.js'

/**
 * Rows in any form that a data file may have. They are read in order, once, or repeatedly by a stream that needs more. A row
 * must not be changed after it was yielded.
 */
export type Rows = Iterable<unknown> | AsyncIterable<unknown>

/** A file, a folder, a hub id, or `-`. */
export type PathSource =
  | string
  | {
      /** A file, a folder, a hub id, or `-` for the standard input. */
      path: string
      /** The source's share of all rows, relative to the other sources' weights; above 0. */
      weight?: number
      /** Ends the run with the last row of this source, which is otherwise read again from its start; the run then streams. */
      stop?: boolean
    }

/** Rows from memory. */
export interface RowSource {
  /** Rows in any form that a data file may have. */
  rows: Rows
  /** The source's share of all rows, relative to the other sources' weights; above 0. */
  weight?: number
  /** Ends the run with the last row of this source, which is otherwise read again from its start; the run then streams. */
  stop?: boolean
}

/** A source of either kind: `{ data, weight }`. */
export interface AnySource {
  /** A path or hub id, or rows from memory. */
  data: string | Rows
  /** The source's share of all rows, relative to the other sources' weights; above 0. */
  weight?: number
  /** Ends the run with the last row of this source, which is otherwise read again from its start; the run then streams. */
  stop?: boolean
}

/** A source of rows. With weights, sources are mixed: each has a share of the rows in proportion to its weight. */
export type DataSource = PathSource | RowSource

/** One source or several. */
export type DataInput = DataSource | AnySource | Rows | readonly (DataSource | AnySource | Rows)[]

/** A row without a type for its columns. */
export type AnyRow = Record<string, unknown>

/**
 * The type of an input's rows for the caller's functions; `AnyRow` for files, hub ids and rows without a type. Lists contain
 * rows, or sources of rows.
 */
export type RowOf<Data> = unknown extends Data
  ? AnyRow
  : Data extends PathSource
    ? AnyRow
    : Data extends RowSource
      ? RowOf<Data['rows']>
      : Data extends AnySource
        ? RowOf<Data['data']>
        : Data extends Iterable<infer One> | AsyncIterable<infer One>
          ? unknown extends One
            ? AnyRow
            : One extends string | Rows
              ? RowOf<One>
              : keyof One extends keyof RowSource | keyof AnySource | 'path'
                ? RowOf<One>
                : One
          : AnyRow

/** Returns the sources of an input; undefined if it is not an input. */
export function sourcesOf(input: unknown): DataSource[] | undefined {
  const single = sourceOf(input)
  if (single) return [single]
  if (!Array.isArray(input)) return isIterable(input) ? [{ rows: input }] : undefined
  if (input.length === 0) return [{ rows: input }]
  const several = input.map((one) => sourceOf(one) ?? (isIterable(one) ? { rows: one } : undefined))
  if (several.every((source) => source !== undefined)) return several
  const areRows = several.every((source) => source === undefined) && isObject(input[0]) && !isRecord(input[0])
  return areRows ? [{ rows: input }] : undefined
}

function sourceOf(value: unknown): DataSource | undefined {
  if (typeof value === 'string') return value === '' ? undefined : value
  if (!isObject(value)) return undefined
  const { data, weight, stop, ...others } = value
  const isWeight = weight === undefined || (Number.isFinite(weight) && (weight as number) > 0)
  if (!isWeight || (stop !== undefined && typeof stop !== 'boolean')) return undefined
  const { path, rows, ...unknown } = data === undefined ? others : { ...others, ...sourceParts(data) }
  if (Object.keys(unknown).length > 0) return undefined
  const how = { ...(weight !== undefined && { weight: weight as number }), ...(stop !== undefined && { stop }) }
  if (typeof path === 'string' && path !== '' && rows === undefined) return { path, ...how }
  return path === undefined && isIterable(rows) ? { rows, ...how } : undefined
}

const sourceParts = (data: unknown) => (typeof data === 'string' ? { path: data } : { rows: data })

/** Tells whether a record is of rows from memory, which a run cannot read again. */
const isRecord = ({ rows, sha256, stream }: Record<string, unknown>): boolean =>
  (rows !== undefined && sha256 !== undefined) || stream === 'rows'

/** Tells whether rows can be read only once, such as the rows of a generator. */
export const isReadOnce = (rows: Rows): boolean => ['next', 'read', 'getReader'].some((name) => name in rows)

function isIterable(value: unknown): value is Rows {
  return typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)
}

/** Schema of arguments that must be data. */
export const someData = custom(
  'a path or hub id, rows (an array, an iterable or an async iterable), or a list of these',
  (value) => sourcesOf(value) !== undefined,
)

export const sourceWeight = (source: DataSource): number | undefined =>
  typeof source === 'string' ? undefined : source.weight

/** Returns the paths and hub ids among sources. */
export function pathsOf(sources: readonly (DataSource | RecordedSource)[] = []): string[] {
  return sources.flatMap((source) => {
    if (typeof source === 'string') return [source]
    return 'path' in source ? [source.path] : []
  })
}

/** Returns the sources with other paths. */
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

/** The record of a source in a run: for rows from memory, their number and the sha256 of their JSON, one line per row. */
export type RecordedSource =
  | PathSource
  | {
      /** The number of rows. */
      rows: number
      /** sha256, hexadecimal, of the rows' JSON, one line per row. */
      sha256: string
      /** The source's share of all rows, relative to the other sources' weights. */
      weight?: number
    }
  | {
      /** Rows from memory that were read as steps needed them. */
      stream: 'rows'
      /** The source's share of all rows, relative to the other sources' weights. */
      weight?: number
    }

/** Describes a recorded source in a message. */
export function describeSource(source: RecordedSource, pathName: (path: string) => string = (path) => path): string {
  if (typeof source === 'string') return pathName(source)
  const name =
    'path' in source
      ? pathName(source.path)
      : 'stream' in source
        ? 'a stream of rows from memory'
        : `${source.rows.toLocaleString('en-US')} rows from memory (sha256 ${source.sha256.slice(0, 16)})`
  return source.weight === undefined ? name : `${name}, weight ${source.weight}`
}
