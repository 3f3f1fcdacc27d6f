// The speed of every operation of the CUDA backend at Llama-2-7B's sizes: microseconds by the device's events, and bytes
// (each operand counted once) and arithmetic per second.
//   node bench/cuda/operations.mjs [--tiny] [--json FILE]
import { parseArgs } from 'node:util'
import { openDevice, Tensor } from 'node-mora'
import { native } from '../common/internals.mjs'
import { keep } from '../common/keep.mjs'
import { table } from '../common/table.mjs'
import { llama, operationCases, tiny } from './operation-cases.mjs'
import { profiled } from './timing.mjs'

const { values: options } = parseArgs({
  options: { tiny: { type: 'boolean' }, quick: { type: 'boolean' }, json: { type: 'string' } },
})
const device = openDevice({ device: 'cuda' })
const sizes = options.tiny ? tiny : llama
const repeats = options.tiny ? 1 : 20

// Read between repeats; it is larger than the second-level cache, so that operands come from memory.
const other = Tensor.zeros([options.tiny ? 16 : 2 ** 26], { device })
const count = Tensor.zeros([1], { device, dtype: 'int32' })
const evict = () => native.countNonFinite(other.native, count.native, false)

const operations = []
const cases = operationCases(device, sizes)
for (const make of options.quick ? cases.filter((_, i) => i % 6 === 0) : cases) {
  const { name, run, dispose } = make()
  operations.push({ name, ...(await measure(name, run)) })
  keep(options.json, { sizes, repeats, operations })
  dispose()
}

const rate = (amount, seconds, unit) => (amount > 0 && seconds > 0 ? (amount / seconds / unit).toFixed(1) : '-')
console.log(
  `\nOperations, ${repeats} times each\n${table(
    ['operation', 'size', 'µs', 'GB/s', 'TFLOP/s'],
    operations.map(({ name, label, seconds, bytes, flops }) => [
      name,
      label || '-',
      (seconds * 1e6).toFixed(1),
      rate(bytes, seconds, 1e9),
      rate(flops, seconds, 1e12),
    ]),
  )}`,
)

/** The profile's entries for the operation itself, without those of the work between repeats. */
async function measure(name, run) {
  const between = name === 'countNonFinite' ? () => {} : evict
  const ignore = name === 'countNonFinite' ? [] : ['countNonFinite']
  const entries = await profiled(device, run, { repeats, between, ignore })
  const sum = (key) => entries.reduce((total, entry) => total + entry[key], 0)
  return { label: entries[0]?.label ?? '', seconds: sum('seconds'), bytes: sum('bytes'), flops: sum('flops') }
}
