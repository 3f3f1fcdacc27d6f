import type { NativeDevice } from '../lib/native/addon.js'

/** Bytes of live tensors: memory in use without the operations' own caches. */
export function liveBytes(device: NativeDevice): number {
  const { inUse, working } = device.memory()
  return inUse - working
}
