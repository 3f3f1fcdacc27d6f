/** Stores tokenised data sets on disk under the hash of everything that affects their tokens. */
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { writeFully, writeStreamAtomic } from '../../io/atomic.js'
import type { OpenSource } from '../../rows/sources/open.js'
import type { DataSummary } from './summary.js'
import { type ArraySizes, allocate, arrayBytes, hashArrays, rowsIn } from './token-store.js'
import type { SourceFacts, TokenisedData } from './tokenise.js'

/** Increase this whenever the same rows are tokenised or masked differently. */
const VERSION = 17

interface Header extends ArraySizes {
  version: number
  key: string
  labels: string[] | undefined
  hash: string
  summary: DataSummary
  sources: SourceFacts[]
  highestId: number
}

/** `$MORA_CACHE`, else `$XDG_CACHE_HOME/node-mora`, else `~/.cache/node-mora`. */
export function defaultCacheFolder(): string {
  const { MORA_CACHE, XDG_CACHE_HOME } = process.env
  return MORA_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'node-mora')
}

/**
 * Returns the hash of the sources' content and of all settings that affect the tokens; null if a source can be read only once.
 */
export async function cacheKey(sources: readonly OpenSource[], settings: object): Promise<string | null> {
  const hash = createHash('sha256').update(JSON.stringify({ version: VERSION, ...settings }))
  for (const source of sources) {
    const digest = await source.digest()
    if (digest === null) return null
    hash.update(`\nsource\n${digest}`)
  }
  return hash.digest('hex')
}

function pathOf(folder: string, key: string): string {
  return join(folder, 'datasets', `${key}.tokens`)
}

export async function writeCache(folder: string, key: string, data: TokenisedData): Promise<void> {
  const { arrays, labels, summary, hash, sources, highestId } = data
  const header: Header = {
    version: VERSION,
    key,
    rows: rowsIn(arrays),
    documents: arrays.offsets.length - 1,
    tokens: arrays.ids.length,
    isWeighted: arrays.weights !== undefined,
    isLabelled: arrays.labels !== undefined,
    labels,
    hash,
    summary,
    sources,
    highestId,
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  await writeStreamAtomic(pathOf(folder, key), async (handle) => {
    for (const bytes of [length, text, ...arrayBytes(arrays)]) await writeFully(handle, bytes)
  })
}

/** Returns the data stored under the key; null if the file is absent, truncated or changed. */
export async function readCache(folder: string, key: string): Promise<TokenisedData | null> {
  let handle: FileHandle | undefined
  try {
    handle = await open(pathOf(folder, key))
    return await readFrom(handle, key)
  } catch {
    return null
  } finally {
    await handle?.close()
  }
}

async function readFrom(handle: FileHandle, key: string): Promise<TokenisedData | null> {
  const { size } = await handle.stat()
  const length = Buffer.alloc(4)
  await fill(handle, length, 0)
  const headerLength = length.readUInt32LE()
  if (headerLength > size) return null
  const text = Buffer.alloc(headerLength)
  await fill(handle, text, 4)
  const header = JSON.parse(text.toString()) as Header
  const { rows, documents, tokens, isWeighted, isLabelled } = header
  const perRow = (isWeighted ? 8 : 0) + (isLabelled ? 4 : 0)
  const payload = 8 * (documents + 1) + 5 * tokens + perRow * rows + (documents === rows ? 0 : 8 * (rows + 1))
  if (header.version !== VERSION || header.key !== key || 4 + headerLength + payload !== size) return null
  const arrays = allocate(header)
  let position = 4 + headerLength
  for (const bytes of arrayBytes(arrays)) {
    await fill(handle, bytes, position)
    position += bytes.length
  }
  const { labels, summary, hash, sources, highestId } = header
  return (await hashArrays(arrays)) === hash
    ? { arrays, labels, summary, hash, sources, highestId, isPart: false }
    : null
}

async function fill(handle: FileHandle, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const length = Math.min(target.length - done, 1 << 30)
    const { bytesRead } = await handle.read(target, done, length, position + done)
    if (bytesRead === 0) throw new Error('unexpected end of file')
    done += bytesRead
  }
}
