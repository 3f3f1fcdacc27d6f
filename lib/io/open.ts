/** Opens input files, with errors that name the file and say what to do. */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { InputError, UsageError } from '../common/errors.js'

/** Otherwise opening a named pipe waits until a program writes to it. */
const WITHOUT_WAITING = constants.O_RDONLY | constants.O_NONBLOCK

/** Most bytes of a file that is read as a whole: tokenizers with the largest vocabularies have tens of millions. */
export const MAX_WHOLE_BYTES = 2 ** 28

/**
 * Calls `use` with an open file and its size in bytes, then closes it.
 * @throws UsageError `missing-file`, `not-a-file` or `unreadable-file`
 */
export async function withInputFile<Result>(
  path: string,
  use: (handle: FileHandle, size: number) => Promise<Result>,
): Promise<Result> {
  const handle = await openInput(path)
  try {
    const facts = await handle.stat()
    if (!facts.isFile()) throw new UsageError('not-a-file', `${path} is not a regular file.`)
    return await use(handle, facts.size)
  } finally {
    await handle.close()
  }
}

/** Reads exactly `length` bytes at `offset`. */
export async function readExactly(handle: FileHandle, path: string, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, Math.min(length - filled, 2 ** 30), offset + filled)
    if (bytesRead === 0) throw malformed(path, `it ended at byte ${offset + filled} while being read`)
    filled += bytesRead
  }
  return bytes
}

/**
 * Reads the bytes of a file.
 * @throws InputError `malformed-file` if there are more than `most`, and as `withInputFile`
 */
export function readWhole(path: string, most = MAX_WHOLE_BYTES): Promise<Buffer> {
  return withInputFile(path, async (handle, size) => {
    if (size > most) throw malformed(path, `it has ${size} bytes, and ${most} are read at most`)
    return readExactly(handle, path, 0, size)
  })
}

/**
 * Reads a file as text; bytes that are not UTF-8 are replaced.
 * @throws Error of the system if it cannot be opened, and an Error if it is not a regular file or too large
 */
export async function readText(path: string): Promise<string> {
  const handle = await open(path, WITHOUT_WAITING)
  try {
    requireWhole(await handle.stat())
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

/** Synchronous `readText`, for files of a few lines. */
export function readTextSync(path: string): string {
  const descriptor = openSync(path, WITHOUT_WAITING)
  try {
    requireWhole(fstatSync(descriptor))
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}

function requireWhole(facts: Stats): void {
  if (!facts.isFile()) throw new Error('it is not a regular file')
  if (facts.size > MAX_WHOLE_BYTES)
    throw new Error(`it has ${facts.size} bytes, and ${MAX_WHOLE_BYTES} are read at most`)
}

/** Decodes UTF-8 and refuses invalid bytes. Drops a byte order mark at the start. */
export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw malformed(path, 'its text is not UTF-8')
  }
}

/** Makes an InputError about the content of a file: `path is malformed: problem.` */
export function malformed(path: string, problem: string): InputError {
  return new InputError('malformed-file', `${path} is malformed: ${problem}.`)
}

/** Returns a hint if a file's first bytes show that it is a stand-in for the real one; else an empty text. */
export function impostorHint(start: Uint8Array): string {
  const text = Buffer.from(start.subarray(0, 64)).toString('latin1').trimStart().toLowerCase()
  if (text.startsWith('version https://git-lfs'))
    return ' (it is a Git LFS pointer: run `git lfs pull` to get the file)'
  if (text.startsWith('<!doctype') || text.startsWith('<html'))
    return ' (it is a web page, not the file it was asked for)'
  return ''
}

async function openInput(path: string): Promise<FileHandle> {
  try {
    return await open(path, WITHOUT_WAITING)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new UsageError('missing-file', `There is no file ${path}.`)
    throw new UsageError('unreadable-file', `${path} cannot be opened: ${(error as Error).message}.`, { cause: error })
  }
}
