// How many tokens a second many sequences at once give, against one stream and against llama.cpp with as many sequences:
// the same GGUF files, prompts and threads, in turn. And how fast prompts of mixed lengths are read, against one long prompt,
// and constrained texts and texts with an adapter each are written, against plain ones; and how long /health takes meanwhile.
// Fetches node-llama-cpp, which is no dependency, into a temporary folder, unless --packages names one that has it:
//   node bench/serving.mjs [MODEL] [--formats bfloat16,q8_0,stored] [--parts many,adapters,streams] [--no-llama-cpp]
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel, randomStream } from 'node-mora'
import { fetchLlamaCpp } from '../scripts/llama-cpp/fetch.mjs'
import { textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { Engine } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { SideProcess } from './common/side-process.mjs'
import { table } from './common/table.mjs'
import { median, takeTurns, timedSides } from './common/turns.mjs'
import { writeWithAdapters } from './serving/adapters.mjs'
import { CONSTRAINTS, writeConstrained } from './serving/constrained.mjs'
import { askHealth } from './serving/health.mjs'
import { MIXED_TOKENS, readMixedPrompts } from './serving/mixed-prompts.mjs'
import { openStreams } from './serving/streams.mjs'

/** Greedy sampling draws nothing. */
const random = randomStream(0, 'greedy')
/**
 * A batch of 32 is to give so many times the tokens of one stream, and so many times those of llama.cpp; prompts of mixed lengths
 * are to be read at this share of the speed of one, constrained texts written at this share of that of free ones, and streams arrive
 * through HTTP at this share of the engine's speed; 99 of 100 requests to /health are to take at most so many milliseconds.
 */
const AIMS = { overOneStream: 8, overLlamaCpp: 4, mixed: 0.9, constrained: 0.9, streams: 0.95, health: 25 }
const PARTS = ['many', 'prompts', 'constrained', 'adapters', 'streams', 'health']
const options = readOptions({
  usage: `node bench/serving.mjs [MODEL] [options]: tokens per second of many sequences at once, greedy.

  --parts LIST      what is measured: of ${PARTS.join(', ')}; default all
  --formats LIST    dtypes of GGUF that the model is written in, or stored: its own file; default bfloat16,q8_0,stored
  --sequences LIST  numbers of sequences at once, default 1,8,32,128
  --prompt N        tokens of each prompt, default 16
  --tokens N        generated after the first, default 48
  --no-llama-cpp    without llama.cpp
  --packages DIR    a folder whose node_modules has node-llama-cpp; default: one that npm fills`,
  own: {
    parts: { type: 'string', default: PARTS.join() },
    formats: { type: 'string', default: 'bfloat16,q8_0,stored' },
    sequences: { type: 'string', default: '1,8,32,128' },
    prompt: { type: 'string', default: '16' },
    tokens: { type: 'string', default: '48' },
    'no-llama-cpp': { type: 'boolean', default: false },
    packages: { type: 'string' },
  },
  rounds: 3,
})
const { parts, formats, sequences, prompt, newTokens } = orUsageError(() => ({
  parts: list(options.parts),
  formats: list(options.formats),
  sequences: list(options.sequences).map((text) => whole('sequences', text, 1)),
  prompt: whole('prompt', options.prompt, 1),
  newTokens: whole('tokens', options.tokens, 1),
}))
const machine = describeMachine(`${options.model}, prompts of ${prompt} tokens, ${newTokens} more`, options)
const folder = scratchFolder()
const entry =
  options['no-llama-cpp'] || !parts.includes('many')
    ? null
    : fetchLlamaCpp(options.packages ?? folder, { fetched: options.packages !== undefined })

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {(string | number)[][]} */
const ratios = []
/** @type {(string | number)[][]} */
const shares = []
/** @type {(string | number)[][]} */
const delays = []
for (const format of formats) await measure(format, await fileIn(format))
const header = ['format', 'sequences', 'over one stream', 'over llama.cpp']
if (ratios.length > 0)
  console.log(`\n${table(header, ratios)}\nAims at 32: ${AIMS.overOneStream}× and ${AIMS.overLlamaCpp}×`)
if (shares.length > 0) console.log(`\n${table(['format', 'what', 'share of the speed', 'aim'], shares)}`)
if (delays.length > 0) console.log(`\n${table(['format', 'milliseconds', 'median', 'p99', 'most', 'aim'], delays)}`)
report({ benchmark: 'serving', machine, options, lines, facts: { prompt, newTokens, ratios, shares, delays } })

/** The model's own file, or one that this script writes. */
async function fileIn(format) {
  if (format === 'stored') return options.model
  const path = join(folder, `${format}.gguf`)
  await copyModel(options.model, path, { dtype: format, threads: options.threads })
  return path
}

async function measure(format, path) {
  process.stderr.write(`${format} …\n`)
  const quantised = format !== 'bfloat16'
  const model = await loadModel(path, { device: 'cpu', dtype: 'bfloat16', threads: options.threads, quantised })
  try {
    if (parts.includes('many')) await measureMany(model, format, path)
    if (parts.includes('prompts')) await measurePrompts(model, format)
    if (parts.includes('constrained')) await measureConstrained(model, format)
    if (parts.includes('adapters')) await measureAdapters(model, format)
    if (parts.includes('streams')) await measureStreams(model, format)
    if (parts.includes('health')) await measureHealth(model, format)
  } finally {
    model.dispose()
  }
}

async function measureMany(model, format, path) {
  const { threads } = model.device.facts()
  const prompts = await promptsOf(model, Math.max(...sequences))
  const script = fileURLToPath(new URL('serving/llama-cpp.mjs', import.meta.url))
  const task = { entry, model: path, prompts, newTokens, threads, sequences }
  const theirs = entry ? new SideProcess('llama.cpp', process.execPath, [script, JSON.stringify(task)]) : null
  try {
    await theirs?.ready()
    const sides = sequences.flatMap((count) => [
      { name: 'node-mora', count, run: () => ours(model, prompts.slice(0, count)) },
      ...(theirs ? [{ name: theirs.name, count, run: () => theirs.ask({ count }) }] : []),
    ])
    const results = await takeTurns(sides, options.rounds)
    const timed = timedSides(sides, results)
    const secondsOf = (name, count) =>
      timed[sides.findIndex((side) => side.name === name && side.count === count)]?.seconds
    const rate = (name, count) => (count * newTokens) / (secondsOf(name, count)?.median ?? Number.NaN)
    for (const count of sequences) {
      const own = timed.filter((_, i) => sides[i].count === count)
      lines.push({ name: `${count} at once, ${format}`, amount: count * newTokens, unit: 'tokens/s', sides: own })
      const overOne = rate('node-mora', count) / rate('node-mora', 1)
      const overTheirs = rate('node-mora', count) / rate('llama.cpp', count)
      ratios.push([format, count, ...[overOne, overTheirs].map((x) => (Number.isNaN(x) ? '' : `${x.toFixed(2)}×`))])
    }
  } finally {
    await theirs?.stop()
  }
}

async function measurePrompts(model, format) {
  const text = [...(await textIds(model.tokenizer, 1, MIXED_TOKENS))]
  const name = 'reading prompts of mixed lengths'
  addShare(format, name, MIXED_TOKENS, await readMixedPrompts(model, text, options.rounds), AIMS.mixed)
}

async function measureConstrained(model, format) {
  for (const count of sequences) {
    const prompts = await promptsOf(model, count)
    for (const [what, constraint] of Object.entries(CONSTRAINTS)) {
      const { tokens, timed } = await writeConstrained(model, prompts, constraint, options.rounds)
      addShare(format, `${what}, ${count} at once`, tokens, timed, AIMS.constrained)
    }
  }
}

async function measureAdapters(model, format) {
  for (const count of sequences) {
    const prompts = await promptsOf(model, count)
    const all = await writeWithAdapters(model, prompts, (adapters) => ours(model, prompts, adapters), options.rounds)
    for (const { label, timed } of all)
      addShare(format, `${count} at once, each with its own ${label}`, count * newTokens, timed, '')
  }
}

async function measureStreams(model, format) {
  const streams = await openStreams(model, { sequences: Math.max(...sequences), newTokens })
  for (const count of sequences) {
    const prompts = await promptsOf(model, count)
    const sides = [
      { name: 'HTTP', run: () => streams.read(prompts) },
      { name: 'engine', run: () => ours(model, prompts) },
    ]
    const timed = timedSides(sides, await takeTurns(sides, options.rounds))
    addShare(format, `streams through HTTP, ${count} at once`, count * newTokens, timed, AIMS.streams)
  }
  await streams.close()
}

async function measureHealth(model, format) {
  const { health, idle, turns } = await askHealth(model, folder, 5 * options.rounds)
  const add = (what, { median, p99, most }, aim) =>
    delays.push([format, what, ...[median, p99, most].map((time) => time.toFixed(1)), aim])
  add('/health', health, AIMS.health)
  add('a server of an idle process', idle, '')
  add("processor's time of turns of the event loop", turns, '')
}

/** Adds a line, and how fast its first side is as a share of its second one: the median over rounds. */
function addShare(format, what, amount, sides, aim) {
  lines.push({ name: `${what}, ${format}`, amount, unit: 'tokens/s', sides })
  const [own, other] = sides.map(({ seconds }) => seconds.all)
  shares.push([format, what, median(own.map((seconds, round) => other[round] / seconds)).toFixed(2), aim])
}

async function promptsOf(model, count) {
  const text = await textIds(model.tokenizer, 1, prompt * count)
  return Array.from({ length: count }, (_, i) => [...text.slice(i * prompt, (i + 1) * prompt)])
}

/** Seconds in which all sequences write their tokens after the first ones. */
async function ours(model, prompts, adapters = prompts.map(() => [])) {
  const engine = new Engine(model, { sequences: prompts.length, tokens: prompts.length * (prompt + newTokens + 64) })
  const firsts = await Promise.all(
    prompts.map(async (ids, i) => {
      let first
      const request = {
        ids,
        adapters: adapters[i],
        maxNewTokens: newTokens + 1,
        sampling: { temperature: 0, topK: 0, topP: 1 },
      }
      for await (const _ of engine.write({ ...request, stopIds: new Set(), random })) first ??= performance.now()
      return first ?? 0
    }),
  )
  const seconds = (performance.now() - Math.max(...firsts)) / 1000
  await engine.close()
  return { seconds }
}
