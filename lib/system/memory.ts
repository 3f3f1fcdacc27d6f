/** Memory, as the system sees it. */
import { readFileSync } from 'node:fs'
import { freemem } from 'node:os'
import { freeMemoryByVmStat } from './macos.js'
import { isMacos, isWindows } from './platform.js'

/** Returns the bytes of address space that `ulimit -v` leaves to this process; infinite without a limit. */
export function freeAddresses(): number {
  const [limit, taken] = [procNumber('self/limits', 'Max address space'), procNumber('self/status', 'VmSize:')]
  return limit === null || taken === null ? Number.POSITIVE_INFINITY : limit - 1024 * taken
}

/** Returns the system's estimate of available memory, on Linux with its swap; infinite if it gives none. */
export function freeSystemMemory(): number {
  if (isWindows) return freemem()
  if (isMacos) return freeMemoryByVmStat() ?? Number.POSITIVE_INFINITY
  const [available, swap] = [procNumber('meminfo', 'MemAvailable:'), procNumber('meminfo', 'SwapFree:')]
  return available === null ? Number.POSITIVE_INFINITY : 1024 * (available + (swap ?? 0))
}

/** Returns the path by which another process opens memory without a name, which a process shares (Linux). */
export const pathOfSharedMemory = (pid: number, descriptor: number | null): string => `/proc/${pid}/fd/${descriptor}`

/** Reads a number from a file of /proc; null if it is absent. */
function procNumber(file: string, name: string): number | null {
  try {
    const [, number] = new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${file}`, 'utf8')) ?? []
    return number === undefined ? null : Number(number)
  } catch {
    return null
  }
}
