/** Identifies a process and a thread of it. */
import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
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
  return { pid, host: hostname(), started: startOf(String(pid)), thread: thisThread() }
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
  const now = startOf(String(pid))
  if (started !== null && now !== null && started !== now) return false
  // If the system lists threads, one that is not in the list has ended.
  return thread === null || now === null || startOf(`${pid}/task/${thread.id}`) === thread.started
}

const TAG_DIGITS = 6

/** Returns twelve hexadecimal digits that identify this process in file names. */
export function processTag(pid = process.pid): string {
  return tagOf(hostname()) + tagOf(startOf(String(pid)) ?? '')
}

/** Whether the process with this number and tag ran on this machine and has ended. */
export function hasEnded(pid: number, tag: string): boolean {
  return tag.startsWith(tagOf(hostname())) && (isGone(pid) || processTag(pid) !== tag)
}

const tagOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, TAG_DIGITS)

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

function thisThread(): ProcessIdentity['thread'] {
  const id = threadId()
  const started = id === null ? null : startOf(`self/task/${id}`)
  return id === null || started === null ? null : { id, started }
}

/** Returns the system's id of the calling thread (Linux); null on other systems. */
export function threadId(): number | null {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1))
  } catch {
    return null
  }
}

/** Returns the processor time of a thread of this process [s]; null where the system does not tell it. */
export function threadSeconds(id: number): number | null {
  const fields = statOf(`self/task/${id}`)
  // Fields 14 and 15, in hundredths of a second on every Linux.
  return fields && (Number(fields[11]) + Number(fields[12])) / 100
}

/**
 * Returns the boot's id and the clock ticks from then to the start of a process or thread (Linux: field 22 of /proc/PID/stat);
 * null on other systems, or if it has ended.
 */
function startOf(place: string): string | null {
  const fields = statOf(place)
  if (!fields) return null
  const [state] = fields
  if (state === 'Z' || state === 'X') return 'ended'
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`
  } catch {
    return null
  }
}

/** Returns the fields of /proc/PLACE/stat from the third on, the state; null if it cannot be read. */
function statOf(place: string): string[] | null {
  try {
    const stat = readFileSync(`/proc/${place}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return null
  }
}
