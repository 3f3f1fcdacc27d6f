/** Processes and their threads, as the system sees them. Linux tells most; what others do not tell is null. */
import { readFileSync, readlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { startOfProcessByPs } from './macos.js'
import { isMacos, isWindows } from './platform.js'

/** Whether there is no process with this number. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/**
 * Returns the boot's id and the clock ticks from then to the start of a process (Linux: field 22 of /proc/PID/stat), or the second
 * of its start (macOS); `ended` if its parent has yet to take notice of its end; null on other systems, or if it has ended.
 */
export function startOfProcess(pid: number): string | null {
  if (!isMacos) return startOf(String(pid))
  if (pid !== process.pid) return startOfProcessByPs(pid)
  ownStart ??= startOfProcessByPs(pid)
  return ownStart
}

/** Kept, since each file that is written needs it, and on macOS a program has to be run for it. */
let ownStart: string | null = null

/** Returns the boot's id and the clock ticks from then to the start of a thread (Linux); null on other systems, or if it has ended. */
export const startOfThread = (pid: number | 'self', thread: number): string | null => startOf(`${pid}/task/${thread}`)

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

/** Returns the processors that this process may use, in Linux's notation: `0-3,8`. Other systems name all. */
export function allowedProcessors(): string {
  try {
    const [, processors = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    return processors
  } catch {
    return `0-${availableParallelism() - 1}`
  }
}

/** Ends this process at once, from any of its threads. Windows has no signals: there it ends with exit code 1. */
export function endThisProcess(signal: 'SIGALRM' | 'SIGKILL'): void {
  process.kill(process.pid, isWindows ? 'SIGKILL' : signal)
}

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
