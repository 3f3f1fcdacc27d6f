// How fast a prompt is read and one stream of tokens is generated beside llama.cpp: the same GGUF files, prompt and threads,
// in turn. Fetches node-llama-cpp, which is no dependency, into a temporary folder, unless --packages names one that has it:
//   node bench/llama-cpp.mjs [MODEL] [--formats stored,q8_0,q4_k_m] [--prompt 512] [--tokens 64]
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel } from 'node-mora'
import { fetchLlamaCpp } from '../scripts/llama-cpp/fetch.mjs'
import { textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { SideProcess } from './common/side-process.mjs'
import { table } from './common/table.mjs'
import { median, takeTurns, timedSides } from './common/turns.mjs'
import { generate } from './generation/greedy.mjs'

/** Target speeds as multiples of llama.cpp's. */
const AIMS = { prefill: 1.5, decode: 1 }
const options = readOptions({
  usage: `node bench/llama-cpp.mjs [MODEL] [options]: tokens per second beside llama.cpp, greedy, after a prompt.

  --formats LIST   dtypes of GGUF that the model is written in, or stored: its own file; default stored,q8_0,q4_k_m
  --prompt N       tokens of the prompt, default 512
  --tokens N       generated after the first, default 64
  --packages DIR   a folder whose node_modules has node-llama-cpp; default: one that npm fills`,
  own: {
    formats: { type: 'string', default: 'stored,q8_0,q4_k_m' },
    prompt: { type: 'string', default: '512' },
    tokens: { type: 'string', default: '64' },
    packages: { type: 'string' },
  },
})
const { formats, prompt, newTokens } = orUsageError(() => ({
  formats: list(options.formats),
  prompt: whole('prompt', options.prompt, 2),
  newTokens: whole('tokens', options.tokens, 1),
}))
const machine = describeMachine(`${options.model}, a prompt of ${prompt} tokens, ${newTokens} more`, options)
const folder = scratchFolder()
const entry = fetchLlamaCpp(options.packages ?? folder, { fetched: options.packages !== undefined })

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {{ name: string, speed: number, ofProcessor: number, aim: number }[]} */
const comparisons = []
for (const format of formats) await measure(format, await fileIn(format))
const rows = comparisons.map(({ name, speed, ofProcessor, aim }) => [
  name,
  ...[speed, ofProcessor, aim].map((ratio) => `${ratio.toFixed(2)}×`),
])
const header = ['as fast as llama.cpp', 'by the clock', "by the processor's time", 'aim']
console.log(`\n${table(header, rows)}`)
report({ benchmark: 'llama-cpp', machine, options, lines, facts: { prompt, newTokens, comparisons } })

/** The model's own file, or one that this script writes. */
async function fileIn(format) {
  if (format === 'stored') return options.model
  const path = join(folder, `${format}.gguf`)
  await copyModel(options.model, path, { dtype: format, threads: options.threads })
  return path
}

async function measure(format, path) {
  process.stderr.write(`${format} …\n`)
  const bfloat16 = /** @type {const} */ ({ device: 'cpu', dtype: 'bfloat16' })
  const model = await loadModel(path, { ...bfloat16, threads: options.threads, quantised: true })
  const { threads } = model.device.facts()
  const ids = (await textIds(model.tokenizer, 1, prompt)).slice(0, prompt)
  const tokens = join(folder, 'tokens.bin')
  writeFileSync(tokens, ids)
  const script = fileURLToPath(new URL('generation/llama-cpp.mjs', import.meta.url))
  const task = { entry, model: path, tokens, prompt, newTokens, threads }
  const theirs = new SideProcess('llama.cpp', process.execPath, [script, JSON.stringify(task)])
  try {
    await theirs.ready()
    const sides = [
      { name: 'node-mora', run: () => generate(model, ids, newTokens) },
      { name: theirs.name, run: () => theirs.ask({ task: 'generate' }) },
    ]
    const results = await takeTurns(sides, options.rounds)
    const [[own], [other]] = results
    const alike = own.ids.findIndex((id, i) => id !== other.ids[i])
    const agreement = alike < 0 ? 'yes' : `${alike} of ${own.ids.length} tokens`
    for (const [part, what, amount] of /** @type {const} */ ([
      ['prefill', 'reading the prompt', prompt],
      ['decode', 'generating', newTokens],
    ])) {
      const name = `${what}, ${format}`
      const timed = timedSides(sides, results, (result) => result[part].seconds)
      const speed = (unit) => median(results[1].map((their, i) => their[part][unit] / results[0][i][part][unit]))
      lines.push({ name, amount, unit: 'tokens/s', sides: [timed[0], { ...timed[1], agreement }] })
      comparisons.push({ name, speed: speed('seconds'), ofProcessor: speed('cpuSeconds'), aim: AIMS[part] })
    }
  } finally {
    await theirs.stop()
    model.dispose()
  }
}
