/** Files and folders that are written beside their place, and what is left of them when a process is killed. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { hasEnded, processTag } from './process-identity.js'

/** Being written, or about to be removed since the new one is in its place. */
type Ending = 'tmp' | 'old'

/** A hidden name in the folder of `path`, which tells whose it is. */
export function temporaryBeside(path: string, ending: Ending): string {
  const full = resolve(path)
  const own = `${process.pid}-${processTag()}${randomBytes(4).toString('hex')}`
  return join(dirname(full), `.${basename(full)}.${own}.${ending}`)
}

const TEMPORARY = /^\.(.+)\.(\d+)-([0-9a-f]{12})[0-9a-f]{8}\.(tmp|old)$/

/**
 * Removes what processes of this machine that have ended were writing into a folder. What was moved away and never replaced
 * goes back to its place.
 */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const [, name, pid, tag, ending] = TEMPORARY.exec(entry) ?? []
    if (name === undefined || !hasEnded(Number(pid), tag!)) continue
    const [left, place] = [join(folder, entry), join(folder, name)]
    // Whoever looks at the same moment does the same.
    if (ending === 'old' && !existsSync(place)) await rename(left, place).catch(() => {})
    else await rm(left, { recursive: true, force: true }).catch(() => {})
  }
}
