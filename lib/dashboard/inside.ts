/** Reading below a folder, never outside of it: a link on the way, also one to a place inside, counts as absent. */
import { constants, type Dirent } from 'node:fs'
import { type FileHandle, open, readdir, realpath } from 'node:fs/promises'

/** A regular file, open for reading, with its size in bytes and time of change in milliseconds. */
export interface RunFile {
  handle: FileHandle
  size: number
  modified: number
}

/**
 * Calls `use` with the open file, then closes it; null when there is no such file.
 *
 * @param path without links up to the folder that must not be left
 */
export async function withFileInside<Result>(
  path: string,
  use: (file: RunFile) => Promise<Result>,
): Promise<Result | null> {
  // Not blocked by a pipe that nobody writes to, nor led elsewhere by a link.
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

/** Bytes of a file that is read as a whole: those of a run are far smaller. */
const WHOLE = 2 ** 20

/** The text of a small file, or its beginning. */
export async function fileText({ handle, size }: RunFile): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, WHOLE)), 0, Math.min(size, WHOLE), 0)
  return buffer.toString('utf8', 0, bytesRead)
}

/** Entries of a folder; none when it is absent. */
export async function entriesInside(path: string): Promise<Dirent[]> {
  return (await isReal(path)) ? await readdir(path, { withFileTypes: true }).catch(() => []) : []
}

async function isReal(path: string): Promise<boolean> {
  return (await realpath(path).catch(() => null)) === path
}
