import { statfs } from 'node:fs/promises'
import { formatBytes } from '../common/bytes.js'
import { RunError } from '../common/errors.js'

/** Returns the free bytes of a folder's file system; null where it does not report its size, as some network file systems. */
export async function freeSpace(folder: string): Promise<number | null> {
  const facts = await statfs(folder)
  return facts.blocks === 0 ? null : facts.bavail * facts.bsize
}

/**
 * Checks that a folder's file system has enough free space, before hours of work are lost to a full disk.
 * @throws RunError `disk-full` with both figures
 */
export async function requireFreeSpace(folder: string, bytes: number, what: string): Promise<void> {
  const free = await freeSpace(folder)
  if (free === null || free >= bytes) return
  throw new RunError(
    'disk-full',
    `${what} takes ${formatBytes(bytes)}, but only ${formatBytes(free)} are free in ${folder}: free some space or choose another folder.`,
  )
}
