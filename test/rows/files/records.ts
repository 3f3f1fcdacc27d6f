import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDataFiles } from '../../../lib/rows/files/data-files.js'
import { readRecords } from '../../../lib/rows/files/readers.js'
import type { DataRecord } from '../../../lib/rows/record.js'

export async function collect(records: AsyncIterable<DataRecord>): Promise<DataRecord[]> {
  const all: DataRecord[] = []
  for await (const record of records) all.push(record)
  return all
}

/** Writes a data file into a folder and reads its records. */
export async function recordsOfFile(folder: string, name: string, content: string | Uint8Array): Promise<DataRecord[]> {
  await writeFile(join(folder, name), content)
  return collect(readRecords(await findDataFiles(join(folder, name))))
}

export const values = (records: DataRecord[]) => records.map(({ value }) => value)
