/** The processors of this machine. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { cpuFlagsBySysctl } from './macos.js'
import { isMacos } from './platform.js'

/** Bytes of /proc/cpuinfo that hold the first processor: with hundreds, the whole file takes longer than loading the addon. */
const FIRST_PROCESSOR = 2 ** 14

/** Returns the flags of /proc/cpuinfo (x86 `flags`, Arm `Features`), on macOS by the same names; none on other systems. */
export function cpuFlags(): string[] {
  if (isMacos) return cpuFlagsBySysctl()
  return /^(?:flags|Features)\s*:(.*)$/m.exec(firstProcessor())?.[1]?.trim().split(/\s+/) ?? []
}

function firstProcessor(): string {
  let file: number
  try {
    file = openSync('/proc/cpuinfo', 'r')
  } catch {
    return ''
  }
  try {
    const start = Buffer.alloc(FIRST_PROCESSOR)
    return start.toString('utf8', 0, readSync(file, start))
  } finally {
    closeSync(file)
  }
}

/** Files that exist on machines with an NVIDIA GPU: of its driver, of Jetson's, and of Windows's, also under WSL. */
const GPU_FILES = [
  '/dev/nvidia0',
  '/dev/nvhost-ctrl-gpu',
  '/usr/lib/wsl/lib/libcuda.so.1',
  ...(process.env.SystemRoot ? [`${process.env.SystemRoot}\\System32\\nvcuda.dll`] : []),
]

/** Returns a file that shows that this machine has an NVIDIA GPU; undefined if there is none. */
export function signOfGpu(): string | undefined {
  return GPU_FILES.find((file) => existsSync(file))
}
