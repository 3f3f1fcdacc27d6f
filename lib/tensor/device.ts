import { UsageError } from '../errors.js'
import { type NativeDevice, native } from '../native.js'

export interface DeviceOptions {
  /** `auto` (default: a GPU where there is one), `cpu`, `cuda` or `cuda:n`. */
  device?: string
  /** CPU threads; 0 (default) is all cores. */
  threads?: number
}

/** Opens a device; throws a sentence that says why where it is absent. */
export function openDevice({ device = 'auto', threads = 0 }: DeviceOptions = {}): NativeDevice {
  const match = /^(auto|cpu|cuda)(?::(\d+))?$/.exec(device)
  if (!match || (match[2] !== undefined && match[1] !== 'cuda')) {
    throw new UsageError('unknown-device', `Expected auto, cpu, cuda or cuda:N for device but received ${device}.`)
  }
  const kind = match[1] === 'auto' ? (native.whyUnavailable('cuda') === null ? 'cuda' : 'cpu') : match[1]!
  const why = native.whyUnavailable(kind)
  if (why !== null) throw new UsageError('device-unavailable', `Device ${kind} cannot be used: ${why}.`)
  const opened = native.openDevice(kind, Number(match[2] ?? 0), threads)
  if (threads > 0) opened.setThreads(threads)
  return opened
}
