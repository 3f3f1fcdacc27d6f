import { Pieces } from './lines.js'

/** Maximum number of bytes that `peek` reads. */
const MOST_SEEN = 2 ** 24

/** A stream of bytes whose start can be read in advance. */
export class Peekable implements AsyncIterable<Uint8Array> {
  readonly #chunks: AsyncIterator<Uint8Array>
  #seen: Uint8Array[] = []
  #ended = false

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Returns the start: as much as `suffices` needs, the whole stream, or 16 MiB. Later readers get these bytes again. */
  async peek(suffices: (start: Buffer) => boolean): Promise<Buffer> {
    let start = Buffer.concat(this.#seen)
    while (!suffices(start) && !this.#ended && start.length < MOST_SEEN) {
      // Doubles the size, so that a long start is examined a few times, not once per chunk.
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

  /** Reads chunks of at least `bytes` together, or to the end of the stream. */
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

  /** Closes the source. */
  async close(): Promise<void> {
    await this.#chunks.return?.()
  }
}

/**
 * Reads all of a stream.
 * @param name of the file, for errors
 * @throws InputError `too-large`
 */
export async function collectBytes(chunks: AsyncIterable<Uint8Array>, name: string): Promise<Buffer> {
  const all = new Pieces(() => name)
  for await (const chunk of chunks) all.add(chunk)
  return all.take()
}
