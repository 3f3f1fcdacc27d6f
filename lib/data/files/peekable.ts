import { Pieces } from './lines.js'

/** Bytes from which on a start tells no more. */
const MOST_SEEN = 2 ** 24

/** A stream of bytes whose start can be looked at before it is read. */
export class Peekable implements AsyncIterable<Uint8Array> {
  readonly #chunks: AsyncIterator<Uint8Array>
  #seen: Uint8Array[] = []
  #ended = false

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** The start, up to where `suffices` is true of it, or all there is, or 16 MiB. Nothing of it is lost to whoever reads. */
  async peek(suffices: (start: Buffer) => boolean): Promise<Buffer> {
    let start = Buffer.concat(this.#seen)
    while (!suffices(start) && !this.#ended && start.length < MOST_SEEN) {
      // By doubling: a start that is long is looked at a few times, not once a chunk.
      start = Buffer.concat([start, ...(await this.#next(Math.max(1, start.length)))])
    }
    this.#seen = [start]
    return start
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#seen.splice(0)
      while (!this.#ended) {
        const next = await this.#chunks.next()
        if (next.done) return
        yield next.value
      }
    } finally {
      await this.close()
    }
  }

  /** Chunks of at least `bytes` together, unless the stream ends before. */
  async #next(bytes: number): Promise<Uint8Array[]> {
    const chunks: Uint8Array[] = []
    for (let count = 0; count < bytes && !this.#ended; ) {
      const next = await this.#chunks.next()
      if (next.done) this.#ended = true
      else {
        chunks.push(next.value)
        count += next.value.byteLength
      }
    }
    return chunks
  }

  /** Lets go of the source. */
  async close(): Promise<void> {
    await this.#chunks.return?.()
  }
}

/**
 * All of a stream.
 * @param name of the file, for errors
 * @throws InputError `too-large`
 */
export async function collectBytes(chunks: AsyncIterable<Uint8Array>, name: string): Promise<Buffer> {
  const all = new Pieces(() => name)
  for await (const chunk of chunks) all.add(chunk)
  return all.take()
}
