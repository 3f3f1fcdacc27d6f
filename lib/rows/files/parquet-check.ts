/**
 * Checks the pages of a column before hyparquet decodes them, since hyparquet trusts the sizes, counts and runs in pages.
 * Without these checks, the checks of runs included, a single damaged byte keeps it busy for minutes: the tests of damaged bytes in
 * test/rows/files/parquet.test.ts do not end.
 */
import type { ColumnMetaData, Compressors, PageHeader, SchemaElement } from 'hyparquet'
import { parquetHeader } from 'hyparquet/src/column.js'
import { decompressPage } from 'hyparquet/src/datapage.js'
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getSchemaPath } from 'hyparquet/src/schema.js'

/** Larger pages are refused before memory is allocated; writers make pages of about 1 MiB. */
const MAX_PAGE_BYTES = 1 << 28
const MAX_PAGE_VALUES = 1 << 24
/** Values that writers may add to fill the last packed run. */
const MAX_PADDING = 512

interface Column {
  meta: ColumnMetaData
  compressors: Compressors
  /** Bits of a level; 0 if there are no levels. */
  repetitionBits: number
  definitionBits: number
}

/**
 * @param bytes of the column in one row group, all its pages
 * @throws Error that names the problem
 */
export function checkColumn(
  bytes: ArrayBuffer,
  meta: ColumnMetaData,
  schema: SchemaElement[],
  compressors: Compressors,
): void {
  const path = getSchemaPath(schema, meta.path_in_schema)
  const column: Column = {
    meta,
    compressors,
    repetitionBits: bitsFor(getMaxRepetitionLevel(path)),
    definitionBits: bitsFor(getMaxDefinitionLevel(path)),
  }
  const reader = { view: new DataView(bytes), offset: 0 }
  while (reader.offset < bytes.byteLength - 1) {
    const header = parquetHeader(reader)
    const { compressed_page_size: stored, uncompressed_page_size: size } = header
    if (!(stored >= 0 && reader.offset + stored <= bytes.byteLength))
      throw new Error(`a page of ${stored ?? 'no'} bytes is named`)
    if (!(size >= 0 && size <= MAX_PAGE_BYTES)) throw new Error(`a page of ${size ?? 'no'} bytes is named`)
    const page = new Uint8Array(bytes, reader.offset, stored)
    if (header.data_page_header) checkPage(page, header, header.data_page_header, column)
    else if (header.data_page_header_v2) checkPageV2(page, header, header.data_page_header_v2, column)
    else requireCount(header.dictionary_page_header?.num_values ?? 0)
    reader.offset += stored
  }
}

function bitsFor(level: number): number {
  return 32 - Math.clz32(level)
}

function requireCount(values: number): void {
  if (!(values >= 0 && values <= MAX_PAGE_VALUES)) throw new Error(`a page of ${values} values is named`)
}

function checkPage(
  stored: Uint8Array,
  header: PageHeader,
  { num_values: values, encoding }: NonNullable<PageHeader['data_page_header']>,
  { meta, compressors, repetitionBits, definitionBits }: Column,
): void {
  requireCount(values)
  const bytes = decompressPage(stored, header.uncompressed_page_size, meta.codec, compressors)
  let offset = 0
  for (const bits of [repetitionBits, definitionBits]) {
    if (bits === 0) continue
    const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true)
    checkRuns(bytes.subarray(offset + 4), bits, values)
    offset += 4 + length
  }
  checkIndices(bytes.subarray(offset), encoding, meta, values, true)
}

function checkPageV2(
  stored: Uint8Array,
  header: PageHeader,
  page: NonNullable<PageHeader['data_page_header_v2']>,
  { meta, compressors, repetitionBits, definitionBits }: Column,
): void {
  const { num_values: values, repetition_levels_byte_length: first, definition_levels_byte_length: second } = page
  requireCount(values)
  if (!(first >= 0 && second >= 0 && first + second <= stored.length))
    throw new Error('a page has no room for its levels')
  if (repetitionBits > 0) checkRuns(stored, repetitionBits, values)
  if (definitionBits > 0) checkRuns(stored.subarray(first), definitionBits, values)
  const rest = stored.subarray(first + second)
  const size = header.uncompressed_page_size - first - second
  const bytes = page.is_compressed === false ? rest : decompressPage(rest, size, meta.codec, compressors)
  checkIndices(bytes, page.encoding, meta, values, false)
}

/** Checks indices into the dictionary, and booleans, which are runs too. */
function checkIndices(bytes: Uint8Array, encoding: string, { type }: ColumnMetaData, values: number, isFirst: boolean) {
  if (!/DICTIONARY$|^RLE$/.test(encoding) || bytes.length === 0) return
  if (type === 'BOOLEAN') checkRuns(bytes.subarray(4), 1, values)
  else if (bytes[0] !== 0 || !isFirst) checkRuns(bytes.subarray(1), bytes[0]!, values)
}

/** Checks runs of the RLE and bit-packed hybrid: no run may be longer than the number of values. */
function checkRuns(bytes: Uint8Array, bits: number, values: number): void {
  if (bits > 32) throw new Error(`values of ${bits} bits are named`)
  for (let seen = 0, offset = 0; seen < values && offset < bytes.length; ) {
    let run = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[offset++] ?? 0
      run += (byte & 0x7f) * 2 ** shift
      if (!(byte & 0x80)) break
    }
    const isPacked = run % 2 === 1
    const count = Math.floor(run / 2) * (isPacked ? 8 : 1)
    if (count > values - seen + (isPacked ? MAX_PADDING : 0)) throw new Error(`a run of ${count} values is named`)
    offset += isPacked ? (count / 8) * bits : Math.ceil(bits / 8)
    seen += count
  }
}
