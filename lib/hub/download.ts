/** Downloads one file into the cache: resumes after an interruption, checks the hash, then renames it into place. */

import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { formatBytes } from '../common/bytes.js'
import { MoraError, RunError } from '../common/errors.js'
import { makeFolder, writeError } from '../io/atomic.js'
import { renamed, sync } from '../system/files.js'
import { type CachedRepository, contentHash } from './cache.js'
import { whileLocked } from './lock.js'
import { nameOf, type Subject } from './refusals.js'
import { request } from './requests.js'
import { type Pacing, PassingFailure, withRetries } from './retry.js'
import type { HubSettings } from './settings.js'

export interface RemoteFile {
  readonly path: string
  readonly url: string
  /** Hash of the content, as `contentHash` takes it; the name of its blob. */
  readonly hash: string
  readonly size: number
}

interface DownloadContext extends Pacing {
  readonly settings: HubSettings
  readonly cached: CachedRepository
  readonly subject: Subject
  /** Called as bytes arrive, with the number of the file's bytes so far. */
  onBytes: (file: RemoteFile, bytes: number) => void
}

/**
 * Downloads a blob into the cache, unless it is there or another process is downloading it. If the connection is lost for
 * good, the part that arrived is kept for the next attempt.
 * @throws RunError `damaged-download` if the content has a wrong hash or size twice, `disk-full`, `write-failed`, and the
 * hub's refusals
 */
export async function downloadFile(file: RemoteFile, context: DownloadContext): Promise<void> {
  const { cached, onWarning, onBytes, signal } = context
  const { hash, size, path } = file
  const partial = cached.partial(hash)
  const onWait = () => onWarning(`Another process downloads ${path}: waiting for it.`)
  await whileLocked(cached.lock(hash), { growing: partial, onWait, signal }, async () => {
    if (!(await cached.hasBlob(hash, size))) await fetchWhole(file, partial, context)
    onBytes(file, size)
  })
}

async function fetchWhole(file: RemoteFile, partial: string, context: DownloadContext): Promise<void> {
  const place = context.cached.blob(file.hash)
  try {
    await makeFolder(dirname(place))
    if (!(await fillUp(file, partial, context))) {
      context.onWarning(`${file.path} arrived damaged; downloading it again.`)
      await rm(partial, { force: true })
      if (!(await fillUp(file, partial, context))) throw damaged(file)
    }
    await renamed(partial, place)
    await sync(dirname(place))
  } catch (error) {
    const isAborted = context.signal?.aborted && error === context.signal.reason
    const isOfUse = isAborted || (error instanceof MoraError && error.code !== 'damaged-download')
    if (!isOfUse) await rm(partial, { force: true }).catch(() => {})
    throw writeError(error, `${file.path} in ${context.cached.folder}`)
  }
}

/** Completes the partial file; returns whether its content then has the promised hash. */
async function fillUp(file: RemoteFile, partial: string, context: DownloadContext): Promise<boolean> {
  const growing = new GrowingFile(await open(partial, constants.O_RDWR | constants.O_CREAT), file)
  try {
    await growing.takeOver()
    await withRetries(() => receive(file, growing, context), context)
    return await growing.finish()
  } catch (error) {
    if (!(error instanceof RunError) || error.code === 'damaged-download' || growing.length === 0) throw error
    const way = `what arrived (${formatBytes(growing.length)} of ${formatBytes(file.size)}) is kept; the same command resumes from there`
    throw new RunError(error.code, `${error.message.replace(/\.$/, '')}; ${way}.`, { cause: error })
  } finally {
    await growing.close()
  }
}

/** Requests the missing part, once. */
async function receive(file: RemoteFile, growing: GrowingFile, context: DownloadContext): Promise<void> {
  const { settings, onBytes, signal } = context
  const subject = { ...context.subject, file: file.path }
  const start = growing.length
  onBytes(file, start)
  if (start === file.size) return
  const cut = (message: string, cause?: unknown) =>
    new PassingFailure('download-cut', message, { gained: growing.length > start, cause })
  const reply = await request(settings, file.url, subject, { from: start, signal })
  const placed = start === 0 ? 'start' : placeOf(reply, start)
  if (placed !== 'rest' && start > 0) await growing.clear()
  if (placed === 'elsewhere') {
    await reply.discard()
    throw cut(`The hub cannot resume at byte ${start} of ${nameOf(subject)}`)
  }
  try {
    for await (const chunk of reply.body()) {
      await growing.append(chunk)
      onBytes(file, growing.length)
    }
  } catch (error) {
    throw error instanceof PassingFailure ? cut(error.message, error) : error
  }
  if (growing.length < file.size) {
    throw cut(`The connection ended at byte ${growing.length} of ${file.size} of ${nameOf(subject)}`)
  }
}

/** Classifies the answer to a request for the rest of a file: that rest, the file from its start, or something else. */
function placeOf(
  { status, headers }: Pick<Response, 'status' | 'headers'>,
  start: number,
): 'rest' | 'start' | 'elsewhere' {
  if (status === 200) return 'start'
  const range = headers.get('content-range') ?? ''
  return status === 206 && range.startsWith(`bytes ${start}-`) ? 'rest' : 'elsewhere'
}

function damaged({ path }: RemoteFile): RunError {
  return new RunError(
    'damaged-download',
    `${path} arrived damaged twice: its content does not match the hub's hash; nothing was kept.`,
  )
}

/** A file that grows to a known size and is hashed as it grows. */
class GrowingFile {
  #length = 0
  #hash

  constructor(
    readonly handle: FileHandle,
    readonly whole: RemoteFile,
  ) {
    this.#hash = contentHash(whole)
  }

  get length(): number {
    return this.#length
  }

  /** Starts with the bytes of an earlier attempt. */
  async takeOver(): Promise<void> {
    const { size: left } = await this.handle.stat()
    if (left > this.whole.size) return await this.clear()
    const piece = Buffer.allocUnsafe(Math.min(left, 2 ** 20))
    while (this.#length < left) {
      const { bytesRead } = await this.handle.read(piece, 0, piece.length, this.#length)
      if (bytesRead === 0) return
      this.#hash.update(piece.subarray(0, bytesRead))
      this.#length += bytesRead
    }
  }

  /** Syncs the file; returns whether it is complete and matches the hash. Call it once. */
  async finish(): Promise<boolean> {
    await this.handle.sync()
    return this.#length === this.whole.size && this.#hash.digest('hex') === this.whole.hash
  }

  /** @throws RunError `damaged-download` if there are more bytes than expected */
  async append(bytes: Uint8Array): Promise<void> {
    const { path, size } = this.whole
    if (this.#length + bytes.length > size) {
      throw new RunError('damaged-download', `The hub sends more than the ${size} bytes that ${path} has.`)
    }
    // Writes go to fixed positions, so another process that fills the same file does no harm.
    for (let done = 0; done < bytes.length; ) {
      done += (await this.handle.write(bytes, done, bytes.length - done, this.#length + done)).bytesWritten
    }
    this.#hash.update(bytes)
    this.#length += bytes.length
  }

  async clear(): Promise<void> {
    await this.handle.truncate(0)
    this.#hash = contentHash(this.whole)
    this.#length = 0
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}
