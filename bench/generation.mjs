// How fast a prompt is read and one stream of tokens is generated, against this machine's products and memory bandwidth,
// against PyTorch with the same weights, and, of weights in block formats, against bfloat16:
//   npm run bench -- generation [--prompt 512] [--tokens 64] [--dtypes bfloat16,float32]
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from 'node-mora'
import { textIds } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { isBlockDType, ModelSource, writeModel } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { copyModel } from './common/model-copy.mjs'
import { dtypeList, readOptions, whole } from './common/options.mjs'
import { measurePeaks, readBandwidth } from './common/peaks.mjs'
import { pytorchSides, stopAll } from './common/pytorch.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { takeTurns, timedSides } from './common/turns.mjs'
import { decodingBound, readingBound, readingProducts } from './generation/bound.mjs'
import { generate } from './generation/greedy.mjs'

const options = readOptions({
  usage: `node bench/generation.mjs [MODEL] [options]: tokens per second of one stream, greedy, after a prompt.

  --prompt N       tokens of the prompt, default 512
  --tokens N       generated after the first, default 64
  --dtypes LIST    bfloat16, float32; default both. With bfloat16, also weights in blocks: Q8_0, and the model's own`,
  own: {
    prompt: { type: 'string', default: '512' },
    tokens: { type: 'string', default: '64' },
    dtypes: { type: 'string', default: 'bfloat16,float32' },
  },
})
const { threads } = options
const { prompt, newTokens, dtypes } = orUsageError(() => ({
  prompt: whole('prompt', options.prompt, 2),
  newTokens: whole('tokens', options.tokens, 1),
  dtypes: dtypeList(options.dtypes),
}))
const machine = describeMachine(`${options.model}, a prompt of ${prompt} tokens, ${newTokens} more`, options)

const folder = scratchFolder()
const [copy, tokenFile] = [join(folder, 'model'), join(folder, 'tokens.bin')]
const { config, tokenizer, device } = await copyModel(options.model, copy, { dtype: 'float32', threads })
const ids = (await textIds(tokenizer, 1, prompt)).slice(0, prompt)
writeFileSync(tokenFile, ids)

const bandwidths = [await readBandwidth(device)]
/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {Set<string>} */
const notes = new Set()
for (const dtype of dtypes) {
  const peaks = await measurePeaks(device, dtype, readingProducts(config, prompt), ['forward'])
  bandwidths.push(peaks.bandwidth)
  lines.push(...(await measure(dtype, peaks)))
  if (dtype === 'bfloat16') for (const stored of await inBlocks()) lines.push(...(await measureBlocks(stored, peaks)))
}
const bandwidth = Math.max(...bandwidths)
console.log(`\nMemory ${bandwidth.toFixed(1)} GB/s`)
report({ benchmark: 'generation', machine, options, lines, notes: [...notes], facts: { prompt, newTokens, bandwidth } })

async function measure(dtype, peaks) {
  const model = await load(copy, dtype)
  const task = { model: copy, tokens: tokenFile, prompt, newTokens, dtype, threads }
  const processes = await pytorchSides('generate.py', task, options, notes)
  try {
    const own = { name: 'node-mora', run: () => ours(model) }
    const theirs = processes.map((side) => ({ name: side.name, run: () => side.ask({ task: 'generate' }) }))
    const sides = [own, ...theirs]
    const results = await takeTurns(sides, options.rounds)
    return linesOf(model, dtype, dtype, peaks, sides, results)
  } finally {
    await stopAll(processes)
    model.dispose()
    device.trim()
  }
}

/** The model in Q8_0, and as stored if it is in another block format: `{ format, path }`. */
async function inBlocks() {
  const path = join(folder, 'q8_0.gguf')
  const source = await ModelSource.open(copy)
  const fill = (name, values) => source.loadInto(name, values)
  await writeModel({ config: source.config, tokenizer: null, source, device, fill }, path, { dtype: 'q8_0' })
  source.closeFiles()
  const format = /** @type {import('node-mora').DType} */ ((await ModelSource.open(options.model)).storedDType())
  const own = isBlockDType(format) && format !== 'q8_0' ? [{ format, path: options.model }] : []
  return [{ format: 'q8_0', path }, ...own]
}

/** Weights as they are stored, in turn with the same weights in bfloat16. */
async function measureBlocks({ format, path }, peaks) {
  const [blocks, floats] = [await load(path, 'bfloat16', true), await load(path, 'bfloat16')]
  const sides = [
    { name: `weights in ${format}`, run: () => ours(blocks) },
    { name: 'weights in bfloat16', run: () => ours(floats) },
  ]
  const results = await takeTurns(sides, options.rounds)
  const lines = linesOf(blocks, format, 'bfloat16', peaks, sides, results)
  for (const model of [blocks, floats]) model.dispose()
  device.trim()
  return lines
}

/** Seconds of both parts, in the form of PyTorch's side. */
async function ours(model) {
  const { prefill, decode, ids: chosen } = await generate(model, ids, newTokens)
  return { prefill: prefill.seconds, decode: decode.seconds, ids: chosen }
}

function load(path, dtype, quantised = false) {
  return loadModel(path, { device: 'cpu', dtype, threads, quantised })
}

/** `stored` is the dtype of weights, `dtype` that of activations. */
function linesOf(model, stored, dtype, peaks, sides, results) {
  const bandwidth = Math.max(...bandwidths)
  const weights = [...model.linears().map(({ weight }) => weight.tensors[0]), model.head]
  const line = (name, key, tokens, possible) => ({
    name: `${name}, ${stored}`,
    amount: tokens,
    unit: 'tokens/s',
    possible,
    sides: timedSides(sides, results, (result) => result[key]).map((side, i) => ({
      ...side,
      ...(i > 0 && sameText(results[0][0].ids, results[i][0].ids, dtype)),
    })),
  })
  const reading = readingBound({ config, tokens: prompt, dtype, peaks, bandwidth })
  const decoding = decodingBound({ config, weights, prompt, tokens: newTokens, dtype, bandwidth })
  return [line('reading the prompt', 'prefill', prompt, reading), line('generating', 'decode', newTokens, decoding)]
}

/** In float32 both sides choose the same tokens; in bfloat16, rounding decides where two are about as likely. */
function sameText(ours, theirs, dtype) {
  const apart = ours.findIndex((id, i) => id !== theirs[i])
  if (apart < 0) return { agrees: true, agreement: 'yes' }
  return { agrees: dtype === 'float32' ? false : undefined, agreement: `${apart} of ${ours.length} tokens` }
}
