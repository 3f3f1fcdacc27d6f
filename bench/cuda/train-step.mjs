// A training step (forward, backward, clipping, AdamW) of whole models with random weights, by the clock and by the
// device's events: SmolLM2-135M, and Llama-2-7B where it fits. Beside what bench/cuda-model.mjs predicted for an H100.
//   node bench/cuda/train-step.mjs [--predicted predicted.json] [--tiny] [--json FILE]
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { keep } from '../common/keep.mjs'
import { parseMethod } from '../common/methods.mjs'
import { mebibytes, table } from '../common/table.mjs'
import { fits, measureStep, trainingRuns } from './training-runs.mjs'

const { values: options } = parseArgs({
  options: {
    predicted: { type: 'string' },
    tiny: { type: 'boolean' },
    quick: { type: 'boolean' },
    json: { type: 'string' },
  },
})
const predictions = options.predicted ? (JSON.parse(readFileSync(options.predicted, 'utf8')).training ?? []) : []

const methods = ['rotation:8', 'sharing:8', 'lora:8', 'rotation:256', 'sharing:256'].map(parseMethod)
const repeats = options.tiny ? 1 : 5

const device = openDevice({ device: 'cuda' })
const cases = []
for (const run of trainingRuns(options.tiny).filter((one) => fits(device, one))) {
  for (const method of options.quick ? methods.slice(0, 1) : methods) {
    const measured = await measureStep(device, run, method, repeats)
    cases.push({ ...measured, predictedTokensPerSecond: predictedFor(measured, method) })
    keep(options.json, { repeats, cases })
  }
}

console.log(
  `\nTraining steps in bfloat16, random weights\n${table(
    ['model', 'method', 'tokens', 'ms', 'of it operations', 'tokens/s', 'predicted', 'peak MiB', 'loss'],
    cases.map((one) => [
      one.model,
      one.method,
      one.tokens,
      (one.seconds * 1000).toFixed(1),
      (one.deviceSeconds * 1000).toFixed(1),
      one.tokensPerSecond.toFixed(0),
      one.predictedTokensPerSecond?.toFixed(0) ?? '-',
      mebibytes(one.peak),
      one.loss.toFixed(3),
    ]),
  )}`,
)
process.exit(cases.every(({ loss }) => Number.isFinite(loss)) ? 0 : 1)

/** The prediction is of Llama-2-7B only. */
function predictedFor({ model, tokens }, method) {
  if (model !== 'Llama-2-7B' || tokens !== 4096) return null
  const found = predictions.find((one) => one.method === `${method.name}:${method.rank}`)
  return found?.tokensPerSecond ?? null
}
