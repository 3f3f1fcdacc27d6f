/** File operations that differ between systems: syncing, and replacing open files. */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { copyFile, link, open, rename, rm, symlink } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { isWindows } from './platform.js'

/** Makes a file's content, or renames and new names inside a folder, survive a power cut. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, MODE).catch(unlessFolderOfWindows)
  try {
    await handle?.sync()
  } finally {
    await handle?.close()
  }
}

/** Synchronous `sync`. */
export function syncNow(path: string): void {
  let descriptor: number
  try {
    descriptor = openSync(path, MODE)
  } catch (error) {
    unlessFolderOfWindows(error)
    return
  }
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Windows syncs only what may be written. */
const MODE = isWindows ? 'r+' : 'r'

/** Windows neither needs nor allows to sync a folder. */
function unlessFolderOfWindows(error: unknown): null {
  const { code } = error as NodeJS.ErrnoException
  if (isWindows && (code === 'EISDIR' || code === 'EPERM' || code === 'EACCES')) return null
  throw error
}

/**
 * Renames a file or folder to a name that is free. On Windows another program, such as a virus scanner, may have what is renamed
 * open for a moment: this waits for it, a few seconds at most.
 */
export async function renamed(from: string, to: string): Promise<void> {
  for (let wait = FIRST_PAUSE; ; wait *= 2) {
    try {
      return await rename(from, to)
    } catch (error) {
      if (!isInUse(error) || wait > LAST_PAUSE) throw error
      await pause(wait)
    }
  }
}

/**
 * Renames a file over another one, which others may have open: they go on reading the former content. Windows may refuse that for
 * an open file; there the former file is first renamed to `aside`, and removed afterwards.
 */
export async function renamedOver(from: string, to: string, aside: string): Promise<void> {
  try {
    return await rename(from, to)
  } catch (error) {
    if (!isInUse(error)) throw error
  }
  await renamed(to, aside)
  try {
    await renamed(from, to)
  } catch (error) {
    await renamed(aside, to)
    throw error
  }
  await rm(aside, { force: true }).catch(() => {})
}

const FIRST_PAUSE = 20
const LAST_PAUSE = 2000

/** Whether Windows refuses something since a file is open, or for another reason, from which it cannot be told. */
function isInUse(error: unknown): boolean {
  return isWindows && ['EPERM', 'EACCES', 'EBUSY'].includes(String((error as NodeJS.ErrnoException).code))
}

/**
 * Makes a symbolic link to a file, `target` being a path from the link's folder. Windows allows links to few users: there, `whole`
 * is linked hard, or copied.
 */
export async function linkFile(target: string, path: string, whole: string): Promise<void> {
  if (!isWindows) return symlink(target, path)
  await link(whole, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw error
    return copyFile(whole, path)
  })
}
