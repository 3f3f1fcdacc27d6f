/** Temporary files and folders beside their destination, and the removal of what killed processes left. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { hasEnded, processTag } from './process-identity.js'

/** `tmp`: being written; `old`: replaced, to be removed. */
type Ending = 'tmp' | 'old'

/** Returns a hidden name in the folder of `path`, which identifies the process that uses it. */
export function temporaryBeside(path: string, ending: Ending): string {
  const full = resolve(path)
  const own = `${process.pid}-${processTag()}${randomBytes(4).toString('hex')}`
  return join(dirname(full), `.${basename(full)}.${own}.${ending}`)
}

const TEMPORARY = /^\.(.+)\.(\d+)-([0-9a-f]{12})[0-9a-f]{8}\.(tmp|old)$/

/**
 * Removes unfinished files of a folder whose processes, on this machine, have ended. Restores what was moved away but not
 * replaced.
 */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [])) {
    const [, name, pid, tag, ending] = TEMPORARY.exec(entry) ?? []
    if (name === undefined || !hasEnded(Number(pid), tag!)) continue
    const [left, place] = [join(folder, entry), join(folder, name)]
    // Another process may do the same at the same moment.
    if (ending === 'old' && !existsSync(place)) await rename(left, place).catch(() => {})
    else await rm(left, { recursive: true, force: true }).catch(() => {})
  }
}
