/** Reads files below a folder, never outside of it: a path through a link counts as absent, even if it leads back inside. */
import { constants, type Dirent } from 'node:fs'
import { type FileHandle, open, readdir, realpath } from 'node:fs/promises'

/** A regular file, open for reading, with its size in bytes and modification time in milliseconds. */
export interface FileInside {
  handle: FileHandle
  size: number
  modified: number
}

/**
 * Calls `use` with the open file, then closes it; returns null if there is no such file.
 *
 * @param path contains no links up to the folder that must not be left
 */
export async function withFileInside<Result>(
  path: string,
  use: (file: FileInside) => Promise<Result>,
): Promise<Result | null> {
  // Do not block on a pipe without a writer, and do not follow a link.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(path, flags).catch(() => null)
  if (!handle) return null
  try {
    const facts = await handle.stat()
    if (!facts.isFile() || !(await isReal(path))) return null
    return await use({ handle, size: facts.size, modified: facts.mtimeMs })
  } finally {
    await handle.close()
  }
}

/** Maximum bytes of a file that is read as a whole. */
const WHOLE = 2 ** 20

/** Returns the text of a small file, or its beginning. */
export async function fileText({ handle, size }: FileInside): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, WHOLE)), 0, Math.min(size, WHOLE), 0)
  return buffer.toString('utf8', 0, bytesRead)
}

/** Returns the entries of a folder; none if it is absent. */
export async function entriesInside(path: string): Promise<Dirent[]> {
  return (await isReal(path)) ? await readdir(path, { withFileTypes: true }).catch(() => []) : []
}

async function isReal(path: string): Promise<boolean> {
  return (await realpath(path).catch(() => null)) === path
}

/** A value computed from a file, and computed again only when the file has changed. */
export class FileView<Value> {
  readonly #path: string
  readonly #read: (file: FileInside) => Promise<Value>
  #stamp = ''
  #value: Value | null = null

  constructor(path: string, read: (file: FileInside) => Promise<Value>) {
    this.#path = path
    this.#read = read
  }

  /** Returns the value; null if the file is absent. */
  get(): Promise<Value | null> {
    return withFileInside(this.#path, async (file) => {
      const stamp = `${file.size} ${file.modified}`
      if (stamp !== this.#stamp) {
        this.#value = await this.#read(file)
        this.#stamp = stamp
      }
      return this.#value
    })
  }
}
