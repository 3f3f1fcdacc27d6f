/**
 * Allows one run at a time to write to an output folder; a second one is rejected at once. Two runs would corrupt the folder,
 * so a lock is taken over only if its process is known to be dead, and by only one of the processes that find it. Downloads,
 * which may run any number of times, have a lock that waits instead (`hub/lock.ts`).
 */
import { createHash } from 'node:crypto'
import { linkSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { makeFolders } from '../../io/atomic.js'
import { temporaryBeside } from '../../io/leftovers.js'
import { readTextSync } from '../../io/open.js'
import { identityIn, isAlive, thisProcess } from '../../io/process-identity.js'

const LOCK_NAME = '.lock'
const TAKEOVER = /^\.lock\.[0-9a-f]{8}$/
const MOST_ATTEMPTS = 20
/** Milliseconds that another process may take to remove a stale lock. */
const TURN_MILLISECONDS = 10

/**
 * Locks an output folder, which is created if absent. Takes over the lock of a dead process; throws a `UsageError` if a live
 * process, or one on another machine, has the lock.
 */
export function lockFolder(folder: string): { release(): void } {
  const path = join(folder, LOCK_NAME)
  const content = JSON.stringify(thisProcess())
  try {
    makeFolders(folder)
    for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
      if (createWhole(path, content)) {
        removeDeadTakeovers(folder)
        return { release: () => removeOwn(path, content) }
      }
      removeIfDead(path, folder, content)
    }
  } catch (error) {
    throw error instanceof UsageError ? error : unwritable(folder, error)
  }
  throw unwritable(folder, new Error(`${path} is made again and again by others`))
}

/** Creates a file that appears with its content, even after a power cut; returns false if it exists already. */
function createWhole(path: string, content: string): boolean {
  const own = temporaryBeside(path, 'tmp')
  writeFileSync(own, content, { flag: 'wx', flush: true })
  try {
    linkSync(own, path)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    // On file systems without hard links, the file appears empty first.
    return createPlain(path, content)
  } finally {
    rmSync(own, { force: true })
  }
}

function createPlain(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function unwritable(folder: string, cause: unknown): UsageError {
  const { message } = cause as Error
  return new UsageError('unwritable-output', `The output folder ${folder} cannot be written: ${message}.`, { cause })
}

/**
 * Removes the lock of a dead process. Of several processes that find it, only the one that creates the file named after it may
 * remove it: the others would remove the lock that the first has taken since.
 */
function removeIfDead(path: string, folder: string, content: string): void {
  const found = contentOf(path)
  if (found === null) return
  requireDead(found, path, folder)
  const takeover = `${path}.${createHash('sha256').update(found).digest('hex').slice(0, 8)}`
  if (!createWhole(takeover, content)) {
    const other = identityIn(contentOf(takeover) ?? '')
    if (other && isAlive(other) === false) rmSync(takeover, { force: true })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TURN_MILLISECONDS)
    return
  }
  try {
    if (contentOf(path) === found) rmSync(path, { force: true })
  } finally {
    rmSync(takeover, { force: true })
  }
}

function requireDead(found: string, path: string, folder: string): void {
  const holder = identityIn(found)
  const alive = holder ? isAlive(holder) : false
  if (alive) {
    throw new UsageError(
      'locked',
      `${folder} is being written by process ${holder?.pid}, which still runs: wait for it, stop it, or choose another output folder.`,
    )
  }
  if (alive === null) {
    throw new UsageError(
      'locked',
      `${folder} was locked by process ${holder?.pid} of the machine ${holder?.host}: if that run has ended, delete ${path}.`,
    )
  }
}

function contentOf(path: string): string | null {
  try {
    return readTextSync(path)
  } catch {
    return null
  }
}

/** Removes the files of processes that ended while taking over a lock. */
function removeDeadTakeovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!TAKEOVER.test(name)) continue
    const holder = identityIn(contentOf(join(folder, name)) ?? '')
    if (holder && isAlive(holder) === false) rmSync(join(folder, name), { force: true })
  }
}

function removeOwn(path: string, content: string): void {
  if (contentOf(path) === content) rmSync(path, { force: true })
}
