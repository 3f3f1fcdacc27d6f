// Runs benchmarks one after the other, each in a process of its own:
//   npm run bench -- [NAME…] [--model MODEL] [--json FILE] [options of the benchmarks]
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { orUsageError, parseOptions } from './common/command-line.mjs'
import { modelPath } from './common/model-path.mjs'
import { scratchFolder } from './common/scratch.mjs'

const benchmarks = {
  kernels: { script: 'kernels.mjs', summary: 'attention and what is bound by memory' },
  generation: { script: 'generation.mjs', summary: 'reading a prompt and generating' },
  serving: { script: 'serving.mjs', summary: 'many sequences at once, against one and llama.cpp' },
  hostile: { script: 'hostile.mjs', summary: 'a server under attack: what other clients notice' },
  rollout: { script: 'rollout.mjs', summary: 'a step of GRPO: sampling, rewards, training' },
  merge: { script: 'merge.mjs', summary: 'an adapter into every layer; a model on disk into another' },
  load: { script: 'load.mjs', summary: 'the command to its first training step' },
  scaling: {
    script: 'scaling.mjs',
    summary: 'time against width, depth, tokens, rank, vocabulary, threads',
    needsModel: false,
  },
  steps: { script: 'steps.mjs', summary: 'own steps: MoRA beside LoRA, long documents, threads' },
  families: {
    script: 'families.mjs',
    summary: 'blocks of much used checkpoints: time, and the memory of the whole model',
    needsModel: false,
  },
  cost: { script: 'cost.mjs', summary: 'every method of the paper beside LoRA: time, memory, parameters' },
  quantised: { script: 'quantised.mjs', summary: 'steps on quantised weights beside the same in bfloat16' },
  rows: { script: 'rows.mjs', summary: 'rows of a data file, packed, against padded batches' },
  large: {
    script: 'large.mjs',
    summary: 'a 7B in Q4_0 trained as its file has it: memory, and the time to its first step',
  },
  memory: { script: 'memory.mjs', summary: 'the most memory of a process that trains' },
  busy: { script: 'busy.mjs', summary: 'a step, a token and a merge beside processes that never wait' },
  ranks: { script: 'ranks.mjs', summary: 'ranks beside one process, what they send, and a simulation of many' },
  'main-thread': { script: 'main-thread.mjs', summary: "JavaScript's part of a step, delays of the event loop" },
  training: { script: 'train.mjs', summary: 'training steps; its own options are in npm run bench train -- --help' },
}
const names = Object.keys(benchmarks)
const usage = `npm run bench -- [NAME…] [options]: without names, all of
${names.map((name) => `  ${name.padEnd(12)}${benchmarks[name].summary}`).join('\n')}

  --model MODEL    a folder or a .gguf file; default: the first of $MORA_TEST_ASSETS/models
  --json FILE      everything as JSON, for npm run bench diff
  --quick          less of everything
  --rounds N, --threads N, --python FILE, --blas FOLDER: as the benchmarks have them (node bench/NAME.mjs --help, with more)`

const { positionals, values } = orUsageError(() =>
  parseOptions(usage, {
    model: { type: 'string' },
    json: { type: 'string' },
    quick: { type: 'boolean' },
    rounds: { type: 'string' },
    threads: { type: 'string' },
    python: { type: 'string' },
    blas: { type: 'string' },
  }),
)
const { model: givenModel, json, ...shared } = values
const { chosen, model } = orUsageError(() => {
  const unknown = positionals.find((name) => !names.includes(name))
  if (unknown) throw new Error(`Expected names out of ${names.join(', ')} but received ${unknown}.`)
  const chosen = positionals.length > 0 ? positionals : names
  const needsModel = chosen.some((name) => benchmarks[name].needsModel !== false)
  return { chosen, model: needsModel ? modelPath(givenModel) : undefined }
})
const passed = Object.entries(shared).flatMap(([name, value]) =>
  value === true ? [`--${name}`] : [`--${name}`, value],
)

const folder = scratchFolder()
const reports = []
for (const name of chosen) {
  const { script, needsModel = true } = benchmarks[name]
  console.log(`\n# ${name}\n`)
  const file = join(folder, `${name}.json`)
  const path = fileURLToPath(new URL(script, import.meta.url))
  const { status } = spawnSync(process.execPath, [path, ...(needsModel ? [model] : []), ...passed, '--json', file], {
    stdio: 'inherit',
  })
  if (status !== 0) {
    console.error(`${name} failed.`)
    process.exitCode = 1
  }
  reports.push(...readReport(file))
}
if (json) writeFileSync(json, `${JSON.stringify({ reports }, null, 2)}\n`)

/** A benchmark whose sides disagree still writes a report; one that crashed does not. */
function readReport(file) {
  try {
    return [JSON.parse(readFileSync(file, 'utf8'))]
  } catch {
    return []
  }
}
