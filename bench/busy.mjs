// How much slower a training step, a generated token and a merge are while others use the processor, beside what fair shares
// of it allow:
//   npm run bench -- busy [--loops 0,1,2,4] [--beside build-other/Release/mora.node]
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { list, readOptions, someOf, whole } from './common/options.mjs'
import { milliseconds, report } from './common/report.mjs'
import { SideProcess } from './common/side-process.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { takeTurns, timedSides } from './common/turns.mjs'

const works = { step: 'a training step', token: 'a generated token', merge: 'a merge' }
/** The largest allowed time of each kind of work, as a multiple of what fair shares of the processor give. */
const limit = 1.15
const options = readOptions({
  usage: `node bench/busy.mjs [MODEL] [options]: beside processes that never wait.

  --loops LIST     how many of them, default 0,1,2,4
  --works LIST     out of ${Object.keys(works).join(', ')}; default all
  --beside FILE    another build of the addon, which takes turns with this one
  --method M       lora:RANK or an operator of MoRA with :RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --rows N         documents of a step, default 4; --length N: tokens of each, default 512`,
  own: {
    ...stepOptions,
    loops: { type: 'string', default: '0,1,2,4' },
    works: { type: 'string', default: Object.keys(works).join() },
    beside: { type: 'string' },
  },
})
const { method, dtype, rows, length } = stepOf(options)
const { counts, chosen } = orUsageError(() => ({
  counts: list(options.loops).map((count) => whole('loops', count, 0)),
  chosen: someOf('works', options.works, Object.keys(works)),
}))
const machine = describeMachine(`${options.model}, ${rows} × ${length} tokens, ${method.label} in ${dtype}`, options)

const sides = await startSides()
const members = options.threads || sides[0].facts.threads
/** @type {(import('./common/report.mjs').Line & { work: string, count: number })[]} */
const lines = []
try {
  for (const work of chosen) lines.push(...(await measure(work)))
} finally {
  await Promise.all(sides.map((side) => side.stop()))
}
report({ benchmark: 'busy', machine, options, lines, notes: ratios(), facts: { members } })

async function startSides() {
  const script = fileURLToPath(new URL('./busy/works.mjs', import.meta.url))
  const task = [options.model, `${method.name}:${method.rank}`, dtype, rows, length, options.threads].map(String)
  const start = (name, environment) => new SideProcess(name, process.execPath, [script, ...task], environment)
  const all = [start('node-mora', {})]
  if (options.beside) all.push(start('the other build', { MORA_BINARY: resolve(options.beside) }))
  for (const side of all) await side.ready()
  return all
}

/** Measures alone and beside each number of loops in turn, because a machine's speed changes from minute to minute. */
async function measure(work) {
  const turns = counts.flatMap((count) => sides.map((side) => ({ run: () => beside(count, () => side.ask({ work })) })))
  const results = await takeTurns(turns, options.rounds)
  const timedOf = (i) => timedSides(sides, results.slice(i * sides.length, (i + 1) * sides.length))
  const alone = counts.includes(0) ? timedOf(counts.indexOf(0))[0].seconds.median : null
  return counts.map((count, i) => {
    const timed = timedOf(i)
    const name = `${works[work]}, ${count === 0 ? 'alone' : `beside ${count}`}`
    console.error(`${name}: ${milliseconds(timed[0].seconds.median)} ms`)
    return { name, work, count, ...(alone && count > 0 && { limit: limit * fair(count) * alone }), sides: timed }
  })
}

async function beside(count, work) {
  const loops = Array.from({ length: count }, () => spawn(process.execPath, ['--eval', 'for (;;);']))
  try {
    if (count > 0) await setTimeout(200)
    return await work()
  } finally {
    for (const loop of loops) loop.kill('SIGKILL')
  }
}

/** How much longer work takes where all threads get equal shares of the processors. */
function fair(count) {
  return Math.max(1, (members + count) / Math.max(members, machine.cores))
}

/** Medians as multiples of what fair shares allow, for lines that were measured alone too. */
function ratios() {
  return lines.flatMap(({ name, work, count, sides: timed }) => {
    const alone = lines.find((line) => line.work === work && line.count === 0)
    if (count === 0 || !alone) return []
    const each = timed.map(({ name: side, seconds }, i) => {
      const ratio = seconds.median / fair(count) / alone.sides[i].seconds.median
      return `${side} ${ratio.toFixed(2)}×`
    })
    return `${name}: ${each.join(', ')} the time that fair shares allow (${fair(count).toFixed(2)}× alone; aim ${limit}×)`
  })
}
