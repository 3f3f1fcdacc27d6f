// Training on ranks beside training in one process, the bytes that ranks send, and how well the model of a step (ranks/step-model.mjs)
// predicts both here:
//   npm run bench -- ranks [--parts overhead,speed,network,simulation] [--links 50,100/5]
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { doctor } from 'node-mora'
import { textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { saveFreshAdapter } from './common/fresh-adapter.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { list, positive, readOptions, someOf, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { measureNetworks } from './ranks/networks.mjs'
import { measureOverhead } from './ranks/overhead.mjs'
import { defaults, predictionsOf, tablesOf, writePlots } from './ranks/predictions.mjs'
import { measureSpeed } from './ranks/speed.mjs'

const parts = { overhead: measureOverhead, speed: measureSpeed, network: measureNetworks, simulation: simulate }
const options = readOptions({
  usage: `node bench/ranks.mjs [MODEL] [options]: training on ranks of one thread, beside one process.

  --parts LIST     out of ${Object.keys(parts).join(', ')}; default all
  --links LIST     networks between namespaces, MBIT or MBIT/MILLISECONDS of delay each; default 50,100/5
  --plot FOLDER    SVGs of what the simulation predicts
  --method M       lora:RANK, rotation:RANK or sharing:RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, which ranks deal out, default 4; --length N: tokens of each, default 256`,
  own: {
    ...stepOptions,
    length: { type: 'string', default: '256' },
    parts: { type: 'string', default: Object.keys(parts).join() },
    plot: { type: 'string' },
    links: { type: 'string', default: '50,100/5' },
  },
})
const { method, dtype, rows, length } = stepOf(options)
const { chosen, links } = orUsageError(() => ({
  /** One for each of 4 ranks. */
  rows: whole('rows', options.rows, 4),
  chosen: someOf('parts', options.parts, Object.keys(parts)),
  links: list(options.links).map((text) => {
    const [mbit, milliseconds] = text.split('/')
    return { mbit: positive('links', mbit), milliseconds: milliseconds ? positive('links', milliseconds) : 0 }
  }),
}))
const machine = describeMachine(`${options.model}, ${rows} × ${length} tokens, ${method.label} in ${dtype}`, options)

const folder = scratchFolder()
const [copy, adapter, tokens] = ['model', 'adapter', 'tokens.bin'].map((name) => join(folder, name))
const { tokenizer, device } = await copyModel(options.model, copy, { dtype: 'float32', threads: options.threads })
await saveFreshAdapter(copy, adapter, method, { dtype, threads: options.threads })
device.trim()
writeFileSync(tokens, await textIds(tokenizer, rows, length))
const context = {
  options,
  links,
  folder,
  script: fileURLToPath(new URL('./ranks/rank.mjs', import.meta.url)),
  task: { model: copy, adapter, operator: method.name, tokens, dtype, rows, length, threads: 1, learningRate: 2e-5 },
}

const hasGloo = doctor().ranks.some(({ name }) => name === 'gloo')
/** @type {import('./common/report.mjs').Line[]} */
const lines = []
const notes = []
const facts = {}
for (const name of chosen) {
  if (['speed', 'network'].includes(name) && !hasGloo) {
    notes.push(`NOT MEASURED: ${name}, which needs gloo (libgloo-dev, before node-mora is built).`)
    continue
  }
  console.error(`${name} …`)
  const measured = await parts[name](context)
  lines.push(...measured.lines)
  notes.push(...measured.notes)
  facts[name] = measured.facts
}
report({ benchmark: 'ranks', machine, options, lines, notes, facts: { method: method.label, dtype, ...facts } })

/** The same model of a step on bases and networks that are not here; ranks/simulation.mjs has its own options. */
function simulate() {
  const predictions = predictionsOf(defaults)
  if (options.plot) writePlots(options.plot, defaults, predictions)
  return { lines: [], facts: { settings: defaults, predictions }, notes: [tablesOf(defaults, predictions)] }
}
