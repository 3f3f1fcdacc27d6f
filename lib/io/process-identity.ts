import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/** What tells a process from any other, also from a later one with the same number. */
export interface ProcessIdentity {
  pid: number
  host: string
  /** When it started, in the system's own terms; null where the system does not say. */
  started: string | null
}

export function thisProcess(): ProcessIdentity {
  return { pid: process.pid, host: hostname(), started: startOf(process.pid) }
}

/** Whether that very process still runs on this machine. Throws nothing; of another machine nothing is known: null. */
export function isAlive(identity: ProcessIdentity): boolean | null {
  if (identity.host !== hostname()) return null
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const started = startOf(identity.pid)
  return identity.started === null || started === null || identity.started === started
}

/** Boot and clock ticks since then (Linux: field 22 of /proc/PID/stat); null elsewhere, or when it is gone. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const state = fields[0]
    if (state === 'Z' || state === 'X') return 'ended'
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`
  } catch {
    return null
  }
}
