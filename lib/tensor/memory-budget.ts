/** The memory budget: how much is free, and errors for what does not fit. */
import { totalmem } from 'node:os'
import { formatBytes } from '../common/bytes.js'
import { UsageError } from '../common/errors.js'
import type { NativeDevice } from '../native/addon.js'
import { freeSystemMemory } from '../system/memory.js'

/** Bytes of a process on the CPU besides its tensors: Node.js, libraries, a tokenizer and their working memory. */
export const PROCESS_BYTES = 256 * 2 ** 20

export interface MemoryDevice {
  readonly kind: string
  facts(): { totalMemory: number }
  memory(): { inUse: number; cached: number }
}

/** Returns the bytes free for further tensors on a device. On the CPU the rest of the process uses the same memory. */
export function freeMemory(device: MemoryDevice): number {
  const { totalMemory } = device.facts()
  const { inUse, cached } = device.memory()
  if (device.kind !== 'cpu') return Math.max(0, totalMemory - inUse)
  const taken = Math.max(process.memoryUsage.rss() - cached, PROCESS_BYTES + inUse)
  return Math.max(0, Math.min(totalMemory - taken, freeSystemMemory() + cached))
}

/**
 * Throws if more bytes are needed than are free: for `tensors` on the device, and for the process while it is `making` them.
 * `remedy` says what would make it fit.
 */
export function requireFreeMemory(
  device: MemoryDevice,
  { tensors, making = 0 }: { tensors: number; making?: number },
  what: string,
  remedy: string,
): void {
  const isShared = device.kind === 'cpu'
  const tooLittle = (bytes: number, has: string) =>
    new UsageError('too-little-memory', `${what} needs about ${formatBytes(bytes)} of memory, but ${has}: ${remedy}.`)
  const bytes = isShared ? tensors + making : tensors
  const free = freeMemory(device)
  if (bytes > free) throw tooLittle(bytes, `${memoryOf(device)}, with ${formatBytes(free)} free`)
  const ofSystem = freeSystemMemory()
  if (!isShared && making > ofSystem) throw tooLittle(making, `this machine has ${formatBytes(ofSystem)} free`)
}

/** Fraction of the tensors' memory lost to fragmentation: free pieces between tensors that are too small. */
const FRAGMENTS = 1 / 32
/** The limit that this module has set. */
let ourLimit = 0

/**
 * Limits the memory of tensors so that the rest of the process, at its present size, fits as well, unless a limit was set
 * elsewhere. Past it, allocations throw before the system ends the process.
 */
export function limitTensorMemory(device: NativeDevice): void {
  if (device.kind !== 'cpu') return
  const { totalMemory } = device.facts()
  const { inUse, cached, limit } = device.memory()
  if (limit !== totalMemory && limit !== ourLimit) return
  const rest = Math.max(PROCESS_BYTES, process.memoryUsage.rss() - inUse - cached)
  ourLimit = Math.max(1, Math.floor((1 - FRAGMENTS) * (totalMemory - rest)))
  device.setMemoryLimit(ourLimit)
}

/** Describes a device's memory: `this machine has 23.5 GiB`, or the limit of the control group. */
export function memoryOf(device: MemoryDevice): string {
  const { totalMemory } = device.facts()
  const size = formatBytes(totalMemory)
  if (device.kind !== 'cpu') return `the device ${device.kind} has ${size}`
  return totalMemory < totalmem()
    ? `this process may have ${size} (the limit of its control group)`
    : `this machine has ${size}`
}
