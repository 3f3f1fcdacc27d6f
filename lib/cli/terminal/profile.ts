import { type FloatDType, type NativeDevice, native, type ProfileEntry } from '../../native/addon.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { formatTable } from './format.js'

/** Measured peaks of a device: floating-point operations and bytes per second. */
interface Peaks {
  flops: number
  bytes: number
}

/** Returns a table of the time per operation since profiling was turned on, and how near each came to the device's peaks. */
export async function profileTable(device: NativeDevice, dtype: FloatDType): Promise<string> {
  await device.synchronize()
  const entries = device.profileReport().filter(({ operation }) => operation !== 'callback')
  const peaks = await measurePeaks(device, dtype)
  const total = entries.reduce((sum, { seconds }) => sum + seconds, 0)
  const rows = entries
    .sort((a, b) => b.seconds - a.seconds)
    .map((entry) => [
      entry.operation,
      entry.label,
      entry.calls,
      entry.seconds.toFixed(3),
      `${((100 * entry.seconds) / total).toFixed(1)} %`,
      ...rateOf(entry, peaks),
    ])
  const heading = ['operation', 'size', 'calls', 'seconds', 'share', 'rate', 'of peak']
  const measured = `measured peaks: ${(peaks.flops / 1e9).toFixed(0)} GFLOP/s in ${dtype}, ${(peaks.bytes / 1e9).toFixed(1)} GB/s`
  return `${formatTable(heading, rows)}\n${total.toFixed(2)} s in operations; ${measured}`
}

/** Compares products with the arithmetic peak, other operations with the memory's. */
function rateOf({ flops, bytes, seconds }: ProfileEntry, peaks: Peaks): [string, string] {
  const share = (rate: number, peak: number) => `${((100 * rate) / peak).toFixed(0)} %`
  if (flops > 0) return [`${(flops / seconds / 1e9).toFixed(0)} GFLOP/s`, share(flops / seconds, peaks.flops)]
  return [`${(bytes / seconds / 1e9).toFixed(1)} GB/s`, share(bytes / seconds, peaks.bytes)]
}

/** Measures the peaks by a few repetitions of a large product and of a large copy. */
async function measurePeaks(device: NativeDevice, dtype: FloatDType): Promise<Peaks> {
  const [rows, width, copied, repetitions] = [1024, 1024, 2 ** 25, 5]
  device.profile(true)
  scope(() => {
    const matrix = () => Tensor.empty([rows, width], { device, dtype })
    const [a, b, c] = [matrix(), matrix(), matrix()]
    const [from, to] = [Tensor.empty([copied], { device }), Tensor.empty([copied], { device })]
    for (const tensor of [a, b, from, to]) native.fill(tensor.native, 1)
    for (let i = 0; i < repetitions; i++) {
      native.matmul({ a: a.native, b: b.native, transposeB: true, c: c.native })
      native.copy(from.native, to.native, 1)
    }
  })
  await device.synchronize()
  const report = device.profileReport()
  device.profile(false)
  const rate = (operation: string, of: 'flops' | 'bytes') => {
    const entry = report.find((candidate) => candidate.operation === operation)!
    return entry[of] / entry.seconds
  }
  return { flops: rate('matmul', 'flops'), bytes: rate('copy', 'bytes') }
}
