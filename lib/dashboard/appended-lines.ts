/** Lines of a file that grows: each is read once. */
import { basename } from 'node:path'
import { type RunFile, withFileInside } from './inside.js'

const CHUNK = 2 ** 20
/** Bytes of a file: those of a million steps are fewer. */
const MOST_BYTES = 2 ** 28
/** Bytes before the place of reading that must be as they were: a file that was written anew differs there. */
const REMEMBERED = 256

export interface LineReader {
  onLine(line: string): void
  /** Lines before are no longer those of the file: it began anew, or is gone. */
  onReset(): void
}

/** What is wrong with the size of such a file; null where nothing is. */
export function sizeProblem(name: string, size: number): string | null {
  return size > MOST_BYTES ? `${name} has ${size} bytes, and ${MOST_BYTES} are read at most.` : null
}

export class AppendedLines {
  readonly #path: string
  readonly #reader: LineReader
  readonly #signal: AbortSignal | undefined
  #problem: string | null = null
  /** Bytes of whole lines that were read. */
  #offset = 0
  #last = Buffer.alloc(0)
  /** Reads take turns. */
  #turn: Promise<unknown> = Promise.resolve()

  /** @param signal ends reading */
  constructor(path: string, reader: LineReader, signal?: AbortSignal) {
    this.#path = path
    this.#reader = reader
    this.#signal = signal
  }

  /** Why nothing was read; null where something was, or there is no file. */
  get problem(): string | null {
    return this.#problem
  }

  /** Hands on every whole line that was appended since the last call. */
  read(): Promise<void> {
    const done = this.#turn.then(async () => {
      const found = await withFileInside(this.#path, async (file) => {
        this.#problem = sizeProblem(basename(this.#path), file.size)
        if (this.#problem !== null) return false
        if (!(await this.#goesOn(file))) this.#reset()
        await this.#readOn(file)
        return true
      })
      if (found === null) this.#problem = null
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

  async #readOn({ handle, size }: RunFile): Promise<void> {
    while (this.#offset < size && !this.#signal?.aborted) {
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

  async #goesOn({ handle, size }: RunFile): Promise<boolean> {
    const { length } = this.#last
    if (size < this.#offset) return false
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.#offset - length)
    return bytesRead === length && buffer.equals(this.#last)
  }
}
