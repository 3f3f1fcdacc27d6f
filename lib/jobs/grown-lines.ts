/** Files of JSON lines that grow, of which only the new part is read again. */
import { open } from 'node:fs/promises'
import { jsonIn } from '../io/json.js'

interface KnownFile {
  /** A file that was replaced has another number. */
  readonly inode: number
  /** Bytes that were read, up to the end of a line. */
  readonly bytes: number
  readonly lines: readonly object[]
}

/** Maximum number of files whose lines are kept. */
const MOST_FILES = 8

export class GrownLines {
  /** The file that was asked for last is the last. */
  readonly #known = new Map<string, KnownFile>()

  /** Returns the objects in a file; lines that are incomplete and a missing file count as none. */
  async of<Line extends object>(path: string): Promise<readonly Line[]> {
    const file = await read(path, this.#known.get(path))
    this.#known.delete(path)
    if (!file) return []
    this.#known.set(path, file)
    if (this.#known.size > MOST_FILES) this.#known.delete([...this.#known.keys()][0]!)
    return file.lines as readonly Line[]
  }
}

async function read(path: string, former: KnownFile | undefined): Promise<KnownFile | null> {
  const handle = await open(path).catch(() => null)
  if (!handle) return null
  try {
    const { ino: inode, size } = await handle.stat()
    const known = former?.inode === inode && former.bytes <= size ? former : { inode, bytes: 0, lines: [] }
    const added = Buffer.alloc(size - known.bytes)
    const { bytesRead } = await handle.read(added, 0, added.length, known.bytes)
    const end = added.subarray(0, bytesRead).lastIndexOf('\n') + 1
    if (end === 0) return known
    const lines = added.toString('utf8', 0, end).split('\n')
    const objects = lines.flatMap((line) => (jsonIn(line) as object | undefined) ?? [])
    return { inode, bytes: known.bytes + end, lines: [...known.lines, ...objects] }
  } finally {
    await handle.close()
  }
}
