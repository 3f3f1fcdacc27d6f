import { statfs } from 'node:fs/promises'
import { formatBytes } from '../common/bytes.js'
import { RunError } from '../common/errors.js'

/**
 * Checks that a folder's file system has enough free space, before hours of work are lost to a full disk.
 * @throws RunError `disk-full` with both figures
 */
export async function requireFreeSpace(folder: string, bytes: number, what: string): Promise<void> {
  const facts = await statfs(folder)
  // Some network file systems do not report their size.
  if (facts.blocks === 0) return
  const free = facts.bavail * facts.bsize
  if (free >= bytes) return
  throw new RunError(
    'disk-full',
    `${what} takes ${formatBytes(bytes)}, but only ${formatBytes(free)} are free in ${folder}: free some space or choose another folder.`,
  )
}
