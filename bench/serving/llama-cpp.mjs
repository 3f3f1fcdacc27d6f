// The side of llama.cpp in bench/serving.mjs, by node-llama-cpp. The only argument is JSON: {entry: node-llama-cpp's index.js,
// model, prompts, newTokens, threads, sequences}. Each request writes `count` sequences at once, as bench/serving.mjs does.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const { entry, model: modelPath, prompts, newTokens, threads, sequences } = JSON.parse(process.argv[2])
const { getLlama } = await import(pathToFileURL(entry).href)
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads })
const model = await llama.loadModel({ modelPath })
const most = Math.max(...sequences)
const contextSize = prompts[0].length + newTokens + 8
const context = await model.createContext({ contextSize, sequences: most, batchSize: 512, threads })
const all = Array.from({ length: most }, () => context.getSequence())
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({ version: llama.llamaCppRelease.release, threads: context.currentThreads })
for await (const line of createInterface({ input: process.stdin })) say(await generate(JSON.parse(line).count))
process.exit()

async function generate(count) {
  const firsts = await Promise.all(
    all.slice(0, count).map(async (sequence, i) => {
      await sequence.clearHistory()
      let first
      let tokens = 0
      for await (const _ of sequence.evaluate(prompts[i], { temperature: 0 })) {
        first ??= performance.now()
        if (++tokens > newTokens) break
      }
      return first ?? 0
    }),
  )
  return { seconds: (performance.now() - Math.max(...firsts)) / 1000 }
}
