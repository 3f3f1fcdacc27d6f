/** Identifies a process and a thread of it. */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { isGone, startOfProcess, startOfThread, threadId } from '../system/processes.js'
import { jsonIn } from './json.js'

/** One thread of a process, also distinguishable from a later one with the same number. */
interface ProcessIdentity {
  pid: number
  host: string
  /** Start time of the process, in the system's format; null if the system does not report it. */
  started: string | null
  /**
   * The thread's number and start time; null if the system does not report them. A terminated worker thread ends before its
   * process, and its lock with it (test/train/output/lock.test.ts, docs/trust.md).
   */
  thread: { id: number; started: string } | null
}

/** Returns the identity of the calling process and thread. */
export function thisProcess(): ProcessIdentity {
  const { pid } = process
  return { pid, host: hostname(), started: startOfProcess(pid), thread: thisThread() }
}

/** Parses the identity in a JSON text; null if it is not a complete one. */
export function identityIn(text: string): ProcessIdentity | null {
  const found = jsonIn(text) as Partial<ProcessIdentity> | null | undefined
  if (typeof found?.pid !== 'number' || typeof found.host !== 'string') return null
  const { pid, host, started, thread } = found
  const isThread = typeof thread?.id === 'number' && typeof thread.started === 'string'
  return { pid, host, started: started ?? null, thread: isThread ? thread : null }
}

/** Whether that thread still runs on this machine; null for another machine. Never throws. */
export function isAlive({ pid, host, started, thread }: ProcessIdentity): boolean | null {
  if (host !== hostname()) return null
  if (isGone(pid)) return false
  const now = startOfProcess(pid)
  if (started !== null && now !== null && started !== now) return false
  // If the system lists threads, one that is not in the list has ended.
  return thread === null || now === null || startOfThread(pid, thread.id) === thread.started
}

const TAG_DIGITS = 6

/** Returns twelve hexadecimal digits that identify this process in file names. */
export function processTag(pid = process.pid): string {
  return tagOf(hostname()) + tagOf(startOfProcess(pid) ?? '')
}

/** Whether the process with this number and tag ran on this machine and has ended. */
export function hasEnded(pid: number, tag: string): boolean {
  return tag.startsWith(tagOf(hostname())) && (isGone(pid) || processTag(pid) !== tag)
}

const tagOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, TAG_DIGITS)

function thisThread(): ProcessIdentity['thread'] {
  const id = threadId()
  const started = id === null ? null : startOfThread('self', id)
  return id === null || started === null ? null : { id, started }
}
