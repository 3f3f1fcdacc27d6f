// How much of JavaScript's main thread training takes: CPU time in a step, and delays of the event loop:
//   npm run bench -- main-thread [--rows 4] [--length 512]
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel, train } from 'node-mora'
import { textIds, writeTokenRows } from './common/batch.mjs'
import { describeMachine } from './common/machine.mjs'
import { adapterConfig } from './common/methods.mjs'
import { readOptions } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { SideProcess } from './common/side-process.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { spread } from './common/turns.mjs'
import { loopDelay } from './main-thread/loop-delay.mjs'

/** `share` is of a step's time, `delay` in seconds. */
const limits = { share: 0.01, delay: 0.005 }
const options = readOptions({
  usage: `node bench/main-thread.mjs [MODEL] [options]: what a run of train() leaves of JavaScript's main thread.

  --method M       lora:RANK or an operator of MoRA with :RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, default 4; --length N: tokens of each, default 512`,
  own: stepOptions,
})
const { rounds, threads } = options
const { method, dtype, rows, length } = stepOf(options)
const machine = describeMachine(`${options.model}, ${rows} × ${length} tokens, ${method.label} in ${dtype}`, options)

const folder = scratchFolder()
const data = join(folder, 'rows.jsonl')
const model = await loadModel(options.model, { device: 'cpu', dtype, threads })
await model.addAdapter('trained', adapterConfig(method), { seed: 1 })
writeTokenRows(data, await textIds(model.tokenizer, rows, length), rows, length)
const idle = new SideProcess('waiting', process.execPath, [
  fileURLToPath(new URL('./main-thread/idle.mjs', import.meta.url)),
])
await idle.ready()
const steps = await trainedSteps()
await idle.stop()
model.dispose()

const step = spread(steps.plain.map(({ seconds }) => seconds))
const cpu = spread(steps.plain.map(({ cpuSeconds }) => cpuSeconds))
const line = (name, seconds, limit) => ({ name, limit, sides: [{ name: 'node-mora', seconds }] })
report({
  benchmark: 'main-thread',
  machine,
  options,
  lines: [
    line('step', step),
    line("the main thread's CPU time of it", cpu, limits.share * step.median),
    line('longest delay of the event loop', spread(steps.watched.map(({ delay }) => delay)), limits.delay),
    line('the same of a process that only waits', spread(steps.watched.map(({ idleDelay }) => idleDelay))),
  ],
  notes: [`The main thread computes for ${((100 * cpu.median) / step.median).toFixed(2)} % of a step.`],
})

/** Steps of one run: `plain` ones, and ones `watched` for delays; watching itself takes time of the main thread. */
async function trainedSteps() {
  /** @type {{ seconds: number, cpuSeconds: number }[]} */
  const plain = []
  /** @type {{ delay: number, idleDelay: number }[]} */
  const watched = []
  /** @type {ReturnType<typeof loopDelay> | undefined} */
  let delay
  let before = { at: 0, cpu: 0 }
  const run = train(model, {
    data,
    output: join(folder, 'out'),
    batchSize: rows,
    maxLength: length,
    maxSteps: 2 * rounds + 2,
    scheduler: 'constant',
    learningRate: 1e-5,
    trainOn: 'all',
  })
  for await (const event of run) {
    if (event.type !== 'step') continue
    const now = { at: performance.now(), cpu: mainThreadSeconds() }
    // The first step, and the one in which the watch begins, do not count.
    if (event.step > 1 && event.step <= rounds + 1)
      plain.push({ seconds: (now.at - before.at) / 1000, cpuSeconds: now.cpu - before.cpu })
    if (event.step === rounds + 1) delay = loopDelay()
    const late = delay && { delay: delay.longest(), idleDelay: (await idle.ask({})).longest }
    if (late && event.step > rounds + 2) watched.push(late)
    before = { at: performance.now(), cpu: mainThreadSeconds() }
  }
  delay?.stop()
  return { plain, watched }
}

/** CPU time of this thread so far, as Linux accounts for it. */
function mainThreadSeconds() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9
}
