/** The highest use of memory between two points, as the kernel counts it. */
import { readFileSync, writeFileSync } from 'node:fs'

/** Returns the bytes in use now, and restarts the count of the highest use; null if the system does not support it. */
export function beginPeak(): number | null {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
    return residentBytes('VmRSS')
  } catch {
    return null
  }
}

/** Returns the highest use since `beginPeak`. */
export const peakBytes = (): number => residentBytes('VmHWM')

function residentBytes(field: 'VmRSS' | 'VmHWM'): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))
  if (!found) throw new Error(`/proc/self/status has no ${field}`)
  return Number(found[1]) * 1024
}
