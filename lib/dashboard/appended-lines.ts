/** Lines of a file that grows: each is read once. */
import { type OpenFile, withFileInside } from './inside.js'

const CHUNK = 2 ** 20
/** Bytes before the place of reading that must be as they were: a file that was written anew differs there. */
const REMEMBERED = 256

export interface LineReader {
  onLine(line: string): void
  /** Lines before are no longer those of the file: it began anew, or is gone. */
  onReset(): void
}

export class AppendedLines {
  readonly #path: string
  readonly #reader: LineReader
  /** Bytes of whole lines that were read. */
  #offset = 0
  #last = Buffer.alloc(0)
  /** Reads take turns. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(path: string, reader: LineReader) {
    this.#path = path
    this.#reader = reader
  }

  /** Hands on every whole line that was appended since the last call. */
  read(): Promise<void> {
    const done = this.#turn.then(async () => {
      const found = await withFileInside(this.#path, async (file) => {
        if (!(await this.#goesOn(file))) this.#reset()
        await this.#readOn(file)
        return true
      })
      if (!found) this.#reset()
    })
    this.#turn = done.catch(() => {})
    return done
  }

  #reset(): void {
    if (this.#offset > 0) this.#reader.onReset()
    this.#offset = 0
    this.#last = Buffer.alloc(0)
  }

  async #readOn({ handle, size }: OpenFile): Promise<void> {
    while (this.#offset < size) {
      const length = Math.min(CHUNK, size - this.#offset)
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, this.#offset)
      const chunk = buffer.subarray(0, bytesRead)
      // What has no end yet is read again when it has; a line longer than a chunk is none of ours.
      const end = chunk.lastIndexOf(0x0a) + 1 || (bytesRead === CHUNK ? CHUNK : 0)
      if (end === 0) return
      for (const line of chunk.toString('utf8', 0, end).split('\n')) if (line !== '') this.#reader.onLine(line)
      this.#last = Buffer.concat([this.#last, chunk.subarray(0, end)]).subarray(-REMEMBERED)
      this.#offset += end
    }
  }

  async #goesOn({ handle, size }: OpenFile): Promise<boolean> {
    const { length } = this.#last
    if (size < this.#offset) return false
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.#offset - length)
    return bytesRead === length && buffer.equals(this.#last)
  }
}
