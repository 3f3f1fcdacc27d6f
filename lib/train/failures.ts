import type { NativeDevice } from '../native/addon.js'

/**
 * Waits for what a failed run has enqueued, and drops the error that this may end with: it belongs to the run, and whoever waits for the
 * device next would be told it.
 */
export async function dropFailures(device: NativeDevice): Promise<void> {
  try {
    await device.synchronize()
  } catch {
    // The run ends with its first error.
  }
}
