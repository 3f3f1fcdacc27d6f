// Measures a device's work by its own events around every operation.

/**
 * Runs `body` once to warm up and then `repeats` times; `between` runs before each and is not counted. Resolves with the
 * figures of each operation per repeat: `[{operation, label, calls, seconds, flops, bytes}]`.
 * @param {import('node-mora').NativeDevice} device
 * @param {() => unknown} body
 * @param {{ repeats: number, between?: () => void, ignore?: string[] }} how
 */
export async function profiled(device, body, { repeats, between = () => {}, ignore = [] }) {
  await body()
  await device.synchronize()
  device.profile(true)
  for (let i = 0; i < repeats; i++) {
    between()
    await body()
  }
  await device.synchronize()
  const entries = device.profileReport()
  device.profile(false)
  return entries
    .filter(({ operation }) => operation !== 'callback' && !ignore.includes(operation))
    .map(({ operation, label, calls, seconds, flops, bytes }) => ({
      operation,
      label,
      calls: calls / repeats,
      seconds: seconds / repeats,
      flops: flops / repeats,
      bytes: bytes / repeats,
    }))
}

/** Seconds by the clock of one of `repeats` consecutive runs, including the wait for the last. */
export async function clocked(device, body, repeats) {
  await body()
  await device.synchronize()
  const started = performance.now()
  for (let i = 0; i < repeats; i++) await body()
  await device.synchronize()
  return (performance.now() - started) / 1000 / repeats
}

export const totalSeconds = (entries) => entries.reduce((sum, { seconds }) => sum + seconds, 0)
