/** Reads the lines of a growing file, each once. */
import { basename } from 'node:path'
import { type FileInside, withFileInside } from './inside.js'

const CHUNK = 2 ** 20
/** Maximum size of a file in bytes; a million steps take less. */
const MOST_BYTES = 2 ** 28
/** Number of bytes before the read position that must be unchanged; a file that was rewritten differs there. */
const REMEMBERED = 256

interface LineReader {
  onLine(line: string): void
  /** Called when the lines read before are void: the file began anew, or is gone. */
  onReset(): void
}

/** Returns the problem if such a file is too large; null otherwise. */
export function sizeProblem(name: string, size: number): string | null {
  return size > MOST_BYTES ? `${name} has ${size} bytes, and ${MOST_BYTES} are read at most.` : null
}

export class AppendedLines {
  readonly #path: string
  readonly #reader: LineReader
  readonly #signal: AbortSignal | undefined
  #problem: string | null = null
  /** Number of bytes of complete lines that were read. */
  #offset = 0
  #last = Buffer.alloc(0)
  /** The last read; reads run one after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  /** @param signal aborts reading */
  constructor(path: string, reader: LineReader, signal?: AbortSignal) {
    this.#path = path
    this.#reader = reader
    this.#signal = signal
  }

  /** Why the file was not read; null if it was, or if there is none. */
  get problem(): string | null {
    return this.#problem
  }

  /** Passes on every complete line that was appended since the last call. */
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

  async #readOn({ handle, size }: FileInside): Promise<void> {
    while (this.#offset < size && !this.#signal?.aborted) {
      const length = Math.min(CHUNK, size - this.#offset)
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, this.#offset)
      const chunk = buffer.subarray(0, bytesRead)
      // An incomplete line is read again once it is complete; a line longer than a chunk is not one of ours.
      const end = chunk.lastIndexOf(0x0a) + 1 || (bytesRead === CHUNK ? CHUNK : 0)
      if (end === 0) return
      for (const line of chunk.toString('utf8', 0, end).split('\n')) if (line !== '') this.#reader.onLine(line)
      this.#last = Buffer.concat([this.#last, chunk.subarray(0, end)]).subarray(-REMEMBERED)
      this.#offset += end
    }
  }

  /** Whether the bytes that were read last are unchanged. */
  async #goesOn({ handle }: FileInside): Promise<boolean> {
    const { length } = this.#last
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.#offset - length)
    return bytesRead === length && buffer.equals(this.#last)
  }
}
