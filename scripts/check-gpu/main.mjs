/** The check itself, which runs in the folder made by gpu-pack/stage.mjs; see scripts/check-gpu.mjs. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { orUsageError } from '../../bench/common/command-line.mjs'
import { absenceText, native } from '../../bench/common/internals.mjs'
import { positive, someOf } from '../../bench/common/options.mjs'
import { table } from '../../bench/common/table.mjs'
import { benchmarks } from './benchmarks.mjs'
import { Budget } from './budget.mjs'
import { folder } from './child.mjs'
import { kernelTests, operationTests, sanitizers } from './correctness.mjs'
import { Report } from './report.mjs'

const { hardware, training, ...measured } = benchmarks
/** Parts in the order of what they tell in a minute: correctness comes before speed. */
const parts = { kernels: kernelTests, hardware, tests: operationTests, training, ...measured, sanitizers }
const predictions = join(folder, 'predicted.json')
const predicted = existsSync(predictions) ? predictions : null

const { options, wanted, minutes } = orUsageError(() => {
  const { values } = parseArgs({
    options: {
      json: { type: 'string', default: 'gpu-report.json' },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: Object.keys(parts).join() },
      minutes: { type: 'string' },
    },
  })
  const wanted = someOf('only', values.only, Object.keys(parts))
  const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : positive('minutes', values.minutes)
  const why = native.whyUnavailable('cuda')
  if (why !== null) throw new Error(`The GPU check cannot run here: ${absenceText(why)}.`)
  return { options: values, wanted, minutes }
})

// Time spent earlier, in other processes, counts too.
const secondsBefore = (Date.now() - Number(process.env.MORA_CHECK_STARTED ?? Date.now())) / 1000
const budget = new Budget(minutes * 60 - secondsBefore)
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => budget.end())

const emulated = process.env.MORA_CUDA === 'emulated'
const facts = openDevice({ device: 'cuda' }).facts()
const report = new Report(options.json, {
  date: new Date().toISOString(),
  version: native.version,
  emulated,
  quick: options.quick,
  minutes: options.minutes === undefined ? null : minutes,
  device: facts,
  libraries: native.libraries(),
})
console.log(`${facts.name}, ${(facts.totalMemory / 2 ** 30).toFixed(0)} GiB, ${facts.detail}`)
if (emulated) console.log('This is the emulator: sizes are tiny, and times say nothing of a GPU.')

const inOrder = Object.keys(parts).filter((name) => wanted.includes(name))
for (const [i, name] of inOrder.entries()) {
  if (budget.spent) {
    report.set(name, 0, { status: 'left out', summary: 'no time was left' })
    continue
  }
  process.stderr.write(`${name} …\n`)
  const started = performance.now()
  const set = (result) => report.set(name, (performance.now() - started) / 1000, result)
  const note = (soFar) => set({ ...soFar, status: 'running' })
  note({ summary: 'nothing yet' })
  // No part takes more than half of the time that is left, so that later parts get some.
  const last = i === inOrder.length - 1
  const share = budget.share(last ? budget.secondsLeft : budget.secondsLeft / 2)
  set(await parts[name]({ ...options, emulated, predicted }, { budget: share, note }))
}

console.log(
  `\n${table(
    ['part', 'result', 'seconds', 'what'],
    report.parts.map(({ name, status, seconds, summary }) => [name, status, seconds.toFixed(1), summary]),
  )}\n\nReport: ${options.json}`,
)
const withStatus = (status) => report.parts.filter((one) => one.status === status).map(({ name }) => name)
for (const status of ['cut short', 'left out']) {
  const names = withStatus(status)
  if (names.length > 0) console.log(`For lack of time ${status}: ${names.join(', ')}.`)
}
if (withStatus('failed').length > 0) process.exit(1)
if (withStatus('passed').length === 0) {
  console.error('Nothing was checked: no part came to its end.')
  process.exit(1)
}
