import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../errors.js'
import { isAlive, type ProcessIdentity, thisProcess } from '../io/process-identity.js'

const LOCK_NAME = '.lock'

/** Held while a run writes to its output folder. */
export interface Lock {
  release(): void
}

/**
 * Takes the lock of an output folder, which is made if absent. The lock of a dead process is taken over; throws a
 * `UsageError` when a living process, or one of another machine, holds it.
 */
export function lockFolder(folder: string): Lock {
  try {
    mkdirSync(folder, { recursive: true })
  } catch (error) {
    throw unwritable(folder, error)
  }
  const path = join(folder, LOCK_NAME)
  const content = JSON.stringify(thisProcess())
  for (let attempt = 0; ; attempt++) {
    try {
      writeFileSync(path, content, { flag: 'wx' })
      return { release: () => releaseOwn(path, content) }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt >= 3) throw unwritable(folder, error)
    }
    removeIfDead(path, folder)
  }
}

function unwritable(folder: string, cause: unknown): UsageError {
  const { message } = cause as Error
  return new UsageError('unwritable-output', `The output folder ${folder} cannot be written: ${message}.`, { cause })
}

function removeIfDead(path: string, folder: string): void {
  const holder = readHolder(path)
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
  rmSync(path, { force: true })
}

function readHolder(path: string): ProcessIdentity | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    const holder = value as Partial<ProcessIdentity> | null
    if (typeof holder?.pid !== 'number' || typeof holder.host !== 'string') return null
    return { pid: holder.pid, host: holder.host, started: holder.started ?? null }
  } catch {
    return null
  }
}

function releaseOwn(path: string, content: string): void {
  try {
    if (readFileSync(path, 'utf8') === content) rmSync(path, { force: true })
  } catch {
    // gone with its folder
  }
}
