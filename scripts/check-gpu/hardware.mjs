/**
 * One group of checks that only hardware can do: cuBLAS with unusual shapes, and sizes past 2^31, 65,535 or 2^17. Each case
 * compares with float64, with the CPU or with exact values, at sizes that fit the device's memory.
 *
 *     node scripts/check-gpu/hardware.mjs products [--tiny] [--json result.json]
 *
 * --tiny runs the same code at sizes for the emulator. Ends with 1 if a case failed.
 */
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { keep } from '../../bench/common/keep.mjs'
import { table } from '../../bench/common/table.mjs'
import { Held } from './hardware/held.mjs'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { tiny: { type: 'boolean', default: false }, quick: { type: 'boolean' }, json: { type: 'string' } },
})
const [group] = positionals
const { casesOf } = await import(`./hardware/${group}.mjs`)

const device = openDevice({ device: 'cuda' })
const cpu = openDevice({ device: 'cpu' })
/** A reserve for workspaces and cached memory. */
const memory = 0.8 * (device.memory().limit || device.facts().totalMemory)

const cases = []
for (const one of casesOf({ tiny: options.tiny, device, cpu })) {
  cases.push(await outcomeOf(one))
  keep(options.json, { cases })
}
console.log(
  `\nOnly hardware shows: ${group}\n${table(
    ['case', 'result', 'apart', 'allowed', 'seconds', ''],
    cases.map(({ name, status, apart, allowed, seconds, what }) => [
      name,
      status,
      apart?.toExponential(1) ?? '-',
      allowed?.toExponential(1) ?? '-',
      seconds?.toFixed(1) ?? '-',
      what ?? '',
    ]),
  )}`,
)
process.exit(cases.some(({ status }) => status === 'failed') ? 1 : 0)

/** A case is `{name, bytes, run}`; `run` resolves with the difference of the results, and the allowed one. */
async function outcomeOf({ name, bytes, run }) {
  const gibibytes = (amount) => `${(amount / 2 ** 30).toFixed(1)} GiB`
  if (bytes > memory)
    return { name, status: 'skipped', what: `it needs ${gibibytes(bytes)}, and ${gibibytes(memory)} can be used` }
  const started = performance.now()
  const held = new Held()
  try {
    const { apart, allowed, what } = await run(held)
    const status = apart <= allowed ? 'passed' : 'failed'
    return { name, status, apart, allowed, what, seconds: (performance.now() - started) / 1000 }
  } catch (error) {
    // Other processes may use the memory.
    return { name, status: error.code === 'out-of-memory' ? 'skipped' : 'failed', what: error.message }
  } finally {
    held.dispose()
    device.trim()
  }
}
