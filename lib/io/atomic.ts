/**
 * Writes files and folders that are either whole or absent: everything is written beside its destination, synced to the disk,
 * and then renamed into place. Writing into a folder also removes what killed processes left there.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, statSync } from 'node:fs'
import {
  appendFile,
  copyFile,
  type FileHandle,
  link,
  lstat,
  open,
  readdir,
  readlink,
  realpath,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { RunError, reworded, UsageError } from '../common/errors.js'
import { renamed, renamedOver, sync, syncNow } from '../system/files.js'
import { removeLeftovers, temporaryBeside } from './leftovers.js'

/** `write` and FileHandle.write take at most 2^31 - 1 bytes at once. */
const MAX_WRITE = 2 ** 30

/**
 * Replaces a file's content in one step. Missing parent folders are made.
 * @throws RunError `write-failed`; the old file is then untouched
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  await writeStreamAtomic(path, (handle) => writeFully(handle, bytes))
}

/**
 * Like `writeFileAtomic`, with the content written by `write` to a handle that is positioned at the start.
 * @throws UsageError `not-a-file` if the path is a folder, before `write` is called
 */
export async function writeStreamAtomic(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  if ((await stat(path).catch(() => null))?.isDirectory()) {
    throw new UsageError('not-a-file', `${path} is a folder: give the path of a file to write.`)
  }
  const folder = dirname(resolve(path))
  const temporary = temporaryBeside(path, 'tmp')
  await removeLeftovers(folder)
  try {
    makeFolders(folder)
    const handle = await open(temporary, 'wx')
    try {
      await write(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await renamedOver(temporary, path, temporaryBeside(path, 'old'))
    await sync(folder)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw writeError(error, path)
  }
}

/** Writes all bytes at the handle's position. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0
  while (written < bytes.byteLength) {
    const length = Math.min(bytes.byteLength - written, MAX_WRITE)
    written += (await handle.write(bytes, written, length)).bytesWritten
  }
}

/**
 * Builds a folder beside `target`, syncs it, and puts it in the place of `target`, which is removed if it exists, but for files
 * that are kept. If `build` throws, `target` is untouched and the temporary folder is removed.
 *
 * Two renames replace an existing folder: a crash between them leaves the old one under a hidden name that ends in `.old`, and
 * nothing under `target`; never a mixture.
 *
 * @param build receives the path of the empty temporary folder
 * @param isReplaced whether a file of the former folder, by its path in it, gives way; others are kept, unless a new one has their name
 * @throws UsageError `not-a-folder` if `target` is a file; RunError `write-failed`
 */
export async function replaceFolder<Result>(
  target: string,
  build: (temporary: string) => Promise<Result>,
  isReplaced: (file: string) => boolean = () => true,
): Promise<Result> {
  const place = await folderPlace(target)
  await removeLeftovers(dirname(place))
  const temporary = temporaryBeside(place, 'tmp')
  try {
    makeFolders(temporary)
    const result = await build(temporary)
    await keepFiles(place, temporary, (file) => !isReplaced(file))
    await syncTree(temporary)
    await swap(temporary, place)
    return result
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
    // Users do not know the name of the temporary folder.
    throw reworded(writeError(error, target), (message) => message.replaceAll(temporary, target))
  }
}

/**
 * Removes a folder, if it exists, in one step: what a crash leaves of it is hidden, and the next command removes it.
 * @throws RunError `write-failed`
 */
export async function removeFolder(path: string): Promise<void> {
  const left = temporaryBeside(path, 'tmp')
  try {
    await renamed(path, left)
    await sync(dirname(left))
    await rm(left, { recursive: true, force: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw writeError(error, path)
  }
}

/**
 * Makes a folder and its missing parents. Their names survive a power cut.
 * @throws UsageError `not-a-folder` if a file is in the way; RunError `write-failed`
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    makeFolders(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw writeError(error, folder)
    throw new UsageError(
      'not-a-folder',
      `${folder} cannot be a folder, since a file is there or above it: choose another path.`,
    )
  }
}

/** Makes appended data of files survive a power cut; skips missing files. */
export async function syncAppended(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await sync(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw writeError(error, path)
    })
  }
}

/** Returns the SHA-256 of a file's content, in lower-case hexadecimal. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  const file = await open(path)
  try {
    const piece = new Uint8Array(2 ** 20) // reused, since the many buffers of a stream are freed late
    for (let length = -1; length !== 0; ) {
      length = (await file.read(piece)).bytesRead
      hash.update(piece.subarray(0, length))
    }
  } finally {
    await file.close()
  }
  return hash.digest('hex')
}

/** Appends one line in one write, so that lines of several writers do not mix. Not synced. */
export function appendLine(path: string, line: string): Promise<void> {
  return appendBytes(path, Buffer.from(`${line}\n`))
}

/** Appends bytes in one write. Not synced. */
export async function appendBytes(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await appendFile(path, bytes)
  } catch (error) {
    throw writeError(error, path)
  }
}

/** Resolves symbolic links, so that the link itself survives a replacement of the folder. */
async function folderPlace(target: string): Promise<string> {
  const path = resolve(target)
  const real = await realpath(path).catch(() => path)
  const facts = await lstat(real).catch(() => null)
  if (facts && !facts.isDirectory()) {
    throw new UsageError('not-a-folder', `${target} exists and is not a folder: remove it or choose another path.`)
  }
  return real
}

/** Links files of a folder into another one, so that both have them until one of the folders is removed. */
async function keepFiles(from: string, to: string, isKept: (file: string) => boolean, inside = ''): Promise<void> {
  const entries = await readdir(join(from, inside), { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  for (const entry of entries) {
    const file = join(inside, entry.name)
    const [source, copy] = [join(from, file), join(to, file)]
    if (entry.isDirectory()) await keepFiles(from, to, isKept, file)
    else if (isKept(file) && !(await lstat(copy).catch(() => null))) {
      makeFolders(dirname(copy))
      if (entry.isSymbolicLink()) await symlink(await readlink(source), copy)
      // Some file systems have no links.
      else await link(source, copy).catch(() => copyFile(source, copy))
    }
  }
}

async function swap(temporary: string, place: string): Promise<void> {
  const old = temporaryBeside(place, 'old')
  const existed = await renamed(place, old).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
  try {
    await renamed(temporary, place)
  } catch (error) {
    if (existed) await renamed(old, place)
    throw error
  }
  // Otherwise the disk might store the removal below before the renames.
  await sync(dirname(place))
  // The new folder is in place: failing to remove the old one is no reason to fail.
  if (existed) await rm(old, { recursive: true, force: true }).catch(() => {})
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(path)
    else if (entry.isFile()) await sync(path)
  }
  await sync(folder)
}

/** Rewords errors of the file system as a sentence about `path`; returns others unchanged. */
export function writeError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error
  const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
  const reason = full ? 'the disk is full' : error.message
  return new RunError(full ? 'disk-full' : 'write-failed', `${path} could not be written: ${reason}.`, { cause: error })
}

/**
 * Makes a folder and its missing parents, whose names survive a power cut. Throws the system's error, which Node.js's recursive
 * mkdir does not always do.
 */
export function makeFolders(folder: string): void {
  const path = resolve(folder)
  while (!isFolder(path)) {
    try {
      mkdirSync(path)
      syncNow(dirname(path))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // Another process may have been faster.
      if (code === 'EEXIST' && isFolder(path)) return
      if (code !== 'ENOENT') throw error
      makeFolders(dirname(path))
    }
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
