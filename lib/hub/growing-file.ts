import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { RunError } from '../common/errors.js'
import { contentHash } from './cache.js'

/** A file that grows to a known size and is hashed as it grows. It starts with what an earlier attempt left. */
export class GrowingFile {
  #length = 0
  #hash

  private constructor(
    readonly handle: FileHandle,
    readonly name: string,
    readonly hash: string,
    readonly size: number,
  ) {
    this.#hash = contentHash(hash, size)
  }

  /** @param name of the file in errors */
  static async open(path: string, { name, hash, size }: { name: string; hash: string; size: number }) {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT)
    const file = new GrowingFile(handle, name, hash, size)
    try {
      await file.#takeOver()
      return file
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  get length(): number {
    return this.#length
  }

  /** Syncs the file; returns whether it is complete and matches the hash. Call it once. */
  async finish(): Promise<boolean> {
    await this.handle.sync()
    return this.#length === this.size && this.#hash.digest('hex') === this.hash
  }

  /** @throws RunError `damaged-download` of more bytes than there should be */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#length + bytes.length > this.size) {
      throw new RunError('damaged-download', `The hub sends more than the ${this.size} bytes that ${this.name} has.`)
    }
    // Writes go to positions, not to the end, so another process that fills the same file does no harm.
    for (let done = 0; done < bytes.length; ) {
      done += (await this.handle.write(bytes, done, bytes.length - done, this.#length + done)).bytesWritten
    }
    this.#hash.update(bytes)
    this.#length += bytes.length
  }

  async clear(): Promise<void> {
    await this.handle.truncate(0)
    this.#hash = contentHash(this.hash, this.size)
    this.#length = 0
  }

  close(): Promise<void> {
    return this.handle.close()
  }

  async #takeOver(): Promise<void> {
    const { size: left } = await this.handle.stat()
    if (left > this.size) return await this.clear()
    const piece = Buffer.allocUnsafe(Math.min(left, 2 ** 20))
    while (this.#length < left) {
      const { bytesRead } = await this.handle.read(piece, 0, piece.length, this.#length)
      if (bytesRead === 0) return
      this.#hash.update(piece.subarray(0, bytesRead))
      this.#length += bytesRead
    }
  }
}
