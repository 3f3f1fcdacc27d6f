/**
 * Allows one download of a file at a time among all processes that share a cache; others wait. Two holders at once do no harm
 * here, so a holder on another machine counts as dead once its file stops growing. The lock of an output folder
 * (`train/output/lock.ts`) guarantees more, and refuses instead of waiting.
 */
import { rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { makeFolder, writeError } from '../io/atomic.js'
import { readText } from '../io/open.js'
import { identityIn, isAlive, thisProcess } from '../io/process-identity.js'
import { waiting } from './retry.js'

const LOOK_EVERY = 200
/** Milliseconds without growth after which another machine's download counts as dead. */
const DEAD_AFTER = 120_000

interface LockOptions {
  /** The file that grows while its holder is alive: the only sign of life of a holder on another machine. */
  growing: string
  /** Called once if another process holds the lock. */
  onWait: () => void
  /** Ends the wait with its reason. */
  signal?: AbortSignal
}

/**
 * Runs `work` while no other process does. Takes over the lock of a dead process. Two processes may do so at the same moment,
 * which does no harm, because they write the same bytes to the same places and verify the result.
 */
export async function whileLocked<Result>(
  path: string,
  { growing, onWait, signal }: LockOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  let hasWaited = false
  while (!(await take(path))) {
    if (!(await isHeld(path, growing))) {
      await rm(path, { force: true })
      continue
    }
    if (!hasWaited) onWait()
    hasWaited = true
    await waiting(LOOK_EVERY, signal)
    signal?.throwIfAborted()
  }
  try {
    return await work()
  } finally {
    await rm(path, { force: true }).catch(() => {})
  }
}

/** Creates the lock file; returns false if it exists already. */
async function take(path: string): Promise<boolean> {
  await makeFolder(dirname(path))
  try {
    await writeFile(path, JSON.stringify(thisProcess()), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw writeError(error, path)
  }
}

/** Whether the holder of a lock may be alive. */
async function isHeld(path: string, growing: string): Promise<boolean> {
  const holder = identityIn(await readText(path).catch(() => ''))
  const alive = holder && isAlive(holder)
  const lastSign = Math.max(await timeOf(path), await timeOf(growing))
  return alive ?? Date.now() - lastSign <= DEAD_AFTER
}

const timeOf = async (path: string): Promise<number> => (await stat(path).catch(() => null))?.mtimeMs ?? 0
