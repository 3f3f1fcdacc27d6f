/** Parquet files as rows with the values that JSON has; one row group is in memory at a time. */
import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AsyncBuffer, Compressors, FileMetaData, RowGroup } from 'hyparquet'
import { InputError, MoraError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { writeFully } from '../../io/atomic.js'
import { readExactly } from '../../io/open.js'
import type { DataRecord } from '../record.js'
import { decodeText } from './lines.js'
import { exactValue, JsonText, markJsonColumns, plainValue } from './parquet-values.js'

/** First bytes of every Parquet file. */
export const PARQUET_SIGNATURE = Buffer.from('PAR1')

/** Maximum number of rows per byte: each row that differs from others takes at least a bit. */
const MOST_ROWS_OF_A_BYTE = 8

/**
 * Yields rows without null values, also in the structs of a nested column; values of a column of JSON keep theirs.
 *
 * @param name of the file, for errors
 * @throws InputError `malformed-parquet` with the rows that cannot be read, `invalid-utf8`
 */
export async function* parquetRecords(path: string, name: string): AsyncGenerator<DataRecord> {
  const handle = await open(path)
  try {
    yield* readGroups(await fileOf(handle, path), name)
  } finally {
    await handle.close()
  }
}

/**
 * Yields the rows of a stream. The index of a Parquet file is at its end, so the bytes go to a temporary file first, which has
 * no name and is removed with the process.
 */
export async function* parquetStreamRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<DataRecord> {
  const path = join(tmpdir(), `mora-${randomUUID()}`)
  const handle = await open(path, 'wx+', 0o600)
  try {
    await unlink(path)
    for await (const chunk of bytes) await writeFully(handle, chunk)
    yield* readGroups(await fileOf(handle, path), name)
  } finally {
    await handle.close()
  }
}

async function fileOf(handle: FileHandle, path: string): Promise<AsyncBuffer> {
  const { size } = await handle.stat()
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (!(start >= 0 && start <= end && end <= size)) {
        throw new Error(`bytes ${start} to ${end} are named, but the file has ${size}`)
      }
      const bytes = new Uint8Array(end - start)
      bytes.set(await readExactly(handle, path, start, end - start))
      return bytes.buffer
    },
  }
}

async function* readGroups(file: AsyncBuffer, name: string): AsyncGenerator<DataRecord> {
  const { parquetMetadataAsync, parquetSchema } = await import('hyparquet')
  const metadata = await orMalformed(name, () => parquetMetadataAsync(file, { geoparquet: false }))
  const schema = await orMalformed(name, async () => parquetSchema(metadata))
  markJsonColumns(metadata, schema)
  const total = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0)
  if (!(total <= MOST_ROWS_OF_A_BYTE * file.byteLength)) {
    throw new InputError(
      'malformed-parquet',
      `${name}: the Parquet file names ${total} rows, more than its ${file.byteLength} bytes can tell apart.`,
    )
  }
  let first = 0
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows)
    if (rows === 0) continue
    const where = `${name}, rows ${first + 1} to ${first + rows}`
    const columns = await orMalformed(where, () => readColumns(file, metadata, group, first, where))
    for (let i = 0; i < rows; i++) {
      const row: Record<string, unknown> = {}
      for (const [column, values] of columns) row[column] = values.next().value
      const exact = exactValue(row, schema) as Record<string, unknown>
      yield { value: plainValue(exact), where: `${name}, row ${first + i + 1}`, exact }
    }
    first += rows
  }
}

/** Returns the values of each column in the rows of one group; checks that each column has a value for every row. */
async function readColumns(
  file: AsyncBuffer,
  metadata: FileMetaData,
  group: RowGroup,
  first: number,
  where: string,
): Promise<Map<string, Iterator<unknown>>> {
  const { parquetRead } = await import('hyparquet')
  const rows = Number(group.num_rows)
  const compressors = await loadCompressors()
  await checkColumns(file, metadata, group, compressors)
  const pages = new Map<string, ArrayLike<unknown>[]>()
  await parquetRead({
    file,
    metadata,
    rowStart: first,
    rowEnd: first + rows,
    compressors,
    utf8: false,
    geoparquet: false,
    parsers: {
      stringFromBytes: (bytes) => bytes && decodeText(bytes, where, false),
      jsonFromBytes: (bytes) => bytes && new JsonText(decodeText(bytes, where, false), where),
    },
    onChunk: ({ columnName, columnData }) => {
      const known = pages.get(columnName)
      if (known) known.push(columnData)
      else pages.set(columnName, [columnData])
    },
  })
  if (pages.size === 0) throw new Error('it has no columns')
  for (const [column, parts] of pages) {
    const count = parts.reduce((sum, part) => sum + part.length, 0)
    if (count !== rows) throw new Error(`the column ${column} has ${count} values for ${rows} rows`)
  }
  return new Map([...pages].map(([column, parts]) => [column, valuesOf(parts)]))
}

function* valuesOf(parts: readonly ArrayLike<unknown>[]): Generator<unknown> {
  for (const part of parts) for (let i = 0; i < part.length; i++) yield part[i]
}

async function loadCompressors(): Promise<Compressors> {
  const { compressors, decompressZstd } = await import('hyparquet-compressors')
  return { ...compressors, ZSTD: (page, length) => decompressZstd(page, new Uint8Array(length)) }
}

/** Refuses columns with invalid pages before hyparquet reads them. */
async function checkColumns(file: AsyncBuffer, { schema }: FileMetaData, group: RowGroup, compressors: Compressors) {
  const { checkColumn } = await import('./parquet-check.js')
  for (const { meta_data: meta } of group.columns) {
    if (!meta) throw new Error('a column has no metadata')
    const start = Number(meta.dictionary_page_offset || meta.data_page_offset)
    const bytes = await file.slice(start, start + Number(meta.total_compressed_size))
    checkColumn(bytes, meta, schema, compressors)
  }
}

/** Turns failures of the reader into errors about the file; passes on the system's errors. */
async function orMalformed<Result>(where: string, read: () => Promise<Result>): Promise<Result> {
  try {
    return await read()
  } catch (cause) {
    if (cause instanceof MoraError || (cause as NodeJS.ErrnoException).syscall) throw cause
    const damaged = 'its description of itself is damaged'
    const reason = reasonOf(cause, damaged)
    // The reader quotes missing values and values of other types unchanged.
    const problem = /\bundefined\b|\[object /.test(reason) ? damaged : reason
    throw new InputError('malformed-parquet', `${where}: the Parquet file cannot be read: ${problem}.`, { cause })
  }
}
