// The side of llama.cpp in bench/llama-cpp.mjs, by node-llama-cpp. The only argument is JSON: {entry: node-llama-cpp's
// index.js, model, tokens, prompt, newTokens, threads}. Each request generates once, as greedy.mjs does.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { readIds } from '../common/batch.mjs'
import { stopwatch } from './stopwatch.mjs'

const { entry, model: modelPath, tokens, prompt, newTokens, threads } = JSON.parse(process.argv[2])
const { getLlama } = await import(pathToFileURL(entry).href)
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads })
const model = await llama.loadModel({ modelPath })
const context = await model.createContext({ contextSize: prompt + newTokens + 8, batchSize: prompt, threads })
const sequence = context.getSequence()
const ids = [...readIds(tokens)]
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({ version: llama.llamaCppRelease.release, threads: context.currentThreads })
for await (const _ of createInterface({ input: process.stdin })) say(await generate())
process.exit()

async function generate() {
  await sequence.clearHistory()
  const chosen = []
  const lap = stopwatch()
  let prefill
  for await (const id of sequence.evaluate(ids, { temperature: 0 })) {
    chosen.push(id)
    prefill ??= lap()
    if (chosen.length > newTokens) break
  }
  return { prefill, decode: lap(), ids: chosen }
}
