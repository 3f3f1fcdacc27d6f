import type { NativeDevice } from '../lib/native/addon.js'

/** Bytes of live tensors: what is in use without what operations keep for themselves. */
export function liveBytes(device: NativeDevice): number {
  const { inUse, working } = device.memory()
  return inUse - working
}
