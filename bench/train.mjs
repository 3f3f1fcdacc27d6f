// How fast a training step is, against PyTorch and against what this machine can do, measured in one run:
//   npm run bench train -- [MODEL] [--python FILE] [--quick] [--methods lora:8] [--dtypes bfloat16] [--compile 5] [--json FILE]
// Each side is a process of its own with the same weights, adapter and tokens; steps are taken in turn.
import { writeFileSync } from 'node:fs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { lacksPeftNote, pytorchMethods } from './common/pytorch.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { boundOf } from './training/bound.mjs'
import { agreementContest, ownContest, pairContest, sidesAgainst } from './training/contest.mjs'
import { trainingOptions } from './training/options.mjs'
import { prepare } from './training/prepare.mjs'
import {
  agreementReport,
  boundReport,
  fastestReport,
  lossAgreement,
  ownReport,
  peaksReport,
  pytorchReport,
  trainingLines,
} from './training/report.mjs'

const options = orUsageError(trainingOptions)
const { rows, length, pytorch } = options
const folder = scratchFolder()
const subject = `${options.model}, ${rows} × ${length} tokens`
const machine = describeMachine(subject, { pytorch, python: options.python })
if (options.peft) console.log(options.peft)

const { config, linears, trained, products, peaks, device } = await prepare(options, folder)
console.log(`\n${peaksReport(peaks, products)}\n`)

const dtypes = [...new Set(options.cases.map(({ dtype }) => dtype))]
const methodsOf = (dtype) => options.cases.filter((one) => one.dtype === dtype).map(({ method }) => method)
const against = pytorch ? options.cases.filter(({ method }) => pytorchMethods.includes(method.name)) : []
const say = (text) => process.stderr.write(`${text} …\n`)

const notes = new Set()
if (pytorch && !options.peft) notes.add(lacksPeftNote(options.python))
const agreements = []
for (const [label, { method }] of new Map(against.map((one) => [one.method.label, one]))) {
  say(`agreement, ${label}`)
  const contest = await agreementContest({ options, folder, method })
  for (const note of contest.notes) notes.add(note)
  const [own, theirs] = contest.sides
  if (!theirs) continue
  agreements.push({ method, losses: own.losses, comparison: lossAgreement(own.losses, theirs.losses, 'float32') })
}

const pairs = against.flatMap(({ dtype, method }, i) => {
  const asItComes = !options.quick && against.findIndex((one) => one.dtype === dtype) === i
  return sidesAgainst(options, method, asItComes).map((side) => ({ dtype, method, side }))
})
// The time that is left is shared by the contests that are left, by how many sides each has.
let left = options.minutes * 60
let waiting = options.cases.length + 2 * pairs.length
const share = (sides) => {
  const seconds = (left * sides) / waiting
  waiting -= sides
  return seconds
}

const own = []
for (const dtype of dtypes) {
  const methods = methodsOf(dtype)
  say(`${dtype}, ours`)
  const contest = await ownContest({ options, folder, methods, dtype, seconds: share(methods.length) })
  left -= contest.seconds
  const lengths = Array.from({ length: rows }, () => length)
  for (const [i, side] of contest.sides.entries())
    side.bound = boundOf({
      config,
      linears,
      method: methods[i],
      lengths,
      dtype,
      fastBfloat16: device.fastBfloat16,
      peaks: peaks[dtype],
    })
  own.push(contest)
}
const cases = []
for (const { dtype, method, side } of pairs) {
  say(`${dtype}, ${method.label} against ${side.name}`)
  const contest = await pairContest({ options, folder, method, dtype, side, seconds: share(2) })
  left -= contest.seconds
  for (const note of contest.notes) notes.add(note)
  const [ours, theirs] = contest.sides
  if (!theirs) continue
  theirs.comparison = lossAgreement(ours.losses, theirs.losses, dtype)
  cases.push({ method, trainedParameters: trained[method.label], ...contest })
}

const reports = [ownReport(own, rows * length), boundReport(own)]
if (agreements.length > 0) reports.push(agreementReport(agreements))
if (cases.length > 0) reports.push(pytorchReport(cases, rows * length), fastestReport(cases))
console.log([...reports, ...notes].join('\n\n'))
if (options.json) {
  const facts = { machine: { ...machine, detail: device.detail }, model: options.model, rows, length, peaks }
  const lines = trainingLines(own, cases, rows * length)
  const report = { benchmark: 'training', ...facts, own, agreements, cases, lines }
  writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
}
const apart = [
  ...agreements.filter(({ comparison }) => !comparison.agrees).map(({ method }) => `PyTorch, float32, ${method.label}`),
  ...cases.flatMap(({ dtype, method, sides }) =>
    sides
      .filter(({ comparison }) => comparison?.agrees === false)
      .map(({ name }) => `${name}, ${dtype}, ${method.label}`),
  ),
]
if (apart.length > 0) {
  console.error(`Losses do not agree with: ${apart.join('; ')}.`)
  process.exitCode = 1
}
