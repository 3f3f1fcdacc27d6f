// A training step (forward, backward, clipping, AdamW) of whole models with random weights, by the clock and by the
// device's events: SmolLM2-135M, and Llama-2-7B where it fits. Beside what bench/cuda-model.mjs predicted for an H100.
//   node bench/cuda/train-step.mjs [--predicted predicted.json] [--tiny] [--json FILE]
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { parseConfig } from '../../dist/models/config.js'
import { Model } from '../../dist/models/model.js'
import { Weights } from '../../dist/models/weights.js'
import { AdamW } from '../../dist/optim/adamw.js'
import { openDevice } from '../../dist/tensor/device.js'
import { packedBatch } from '../common/batch.mjs'
import { adapterConfig, parseMethod } from '../common/methods.mjs'
import { fillNormal } from '../common/random.mjs'
import { mebibytes, table } from '../common/table.mjs'
import { trainStep } from '../common/train-step.mjs'
import { clocked, profiled, totalSeconds } from './timing.mjs'

const { values: options } = parseArgs({
  options: {
    predicted: { type: 'string' },
    tiny: { type: 'boolean' },
    quick: { type: 'boolean' },
    json: { type: 'string' },
  },
})
const predictions = options.predicted ? (JSON.parse(readFileSync(options.predicted, 'utf8')).training ?? []) : []

const common = { model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5 }
const smollm2 = {
  ...common,
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 8192,
  rope_theta: 100000,
  tie_word_embeddings: true,
}
const llama2 = {
  ...common,
  vocab_size: 32000,
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  max_position_embeddings: 4096,
  rope_theta: 10000,
  tie_word_embeddings: false,
}
const small = { vocab_size: 60, hidden_size: 48, intermediate_size: 64, num_hidden_layers: 1 }
const runs = options.tiny
  ? [{ name: 'SmolLM2, tiny', config: { ...smollm2, ...small, num_attention_heads: 6 }, rows: 2, length: 6 }]
  : [
      { name: 'SmolLM2-135M', config: smollm2, rows: 8, length: 2048 },
      // Weights, activations of every block, and room.
      { name: 'Llama-2-7B', config: llama2, rows: 1, length: 4096, needs: 70 * 2 ** 30 },
    ]
const methods = ['rotation:8', 'sharing:8', 'lora:8', 'rotation:256', 'sharing:256'].map(parseMethod)
const repeats = options.tiny ? 1 : 5

const device = openDevice({ device: 'cuda' })
const cases = []
for (const run of runs) {
  if (run.needs > device.facts().totalMemory) {
    console.log(`${run.name} is left out: it needs a device with ${run.needs / 2 ** 30} GiB.`)
    continue
  }
  for (const method of options.quick ? methods.slice(0, 1) : methods) cases.push(await measure(run, method))
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
if (options.json) writeFileSync(options.json, JSON.stringify({ repeats, cases }))
process.exit(cases.every(({ loss }) => Number.isFinite(loss)) ? 0 : 1)

async function measure({ name, config, rows, length }, method) {
  const parsed = parseConfig(config, name)
  const deviation = 0.02 // as such models are initialised
  const weights = new Weights(parsed, device, 'bfloat16', (_, target) => void fillNormal(target, deviation))
  const model = new Model({ tokenizer: null, source: null, weights })
  model.addAdapter('measured', adapterConfig(method))
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const ids = Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * 7919 + (i >> 3)) % parsed.vocabularySize)
  const batch = packedBatch(ids, rows, length)
  let loss = Number.NaN
  const step = async () => {
    loss = (await trainStep(model, optimizer, batch, 1e-4)).loss
  }
  await step()
  device.resetPeak()
  const seconds = await clocked(device, step, repeats)
  const { peak } = device.memory()
  const operations = await profiled(device, step, { repeats })
  optimizer.dispose()
  model.dispose()
  const tokens = rows * length
  const label = `${name} ${method.label}`
  return {
    label,
    model: name,
    method: method.label,
    tokens,
    seconds,
    deviceSeconds: totalSeconds(operations),
    tokensPerSecond: tokens / seconds,
    predictedTokensPerSecond: predictedFor(name, method, tokens),
    peak,
    loss,
    operations,
  }
}

/** The prediction is of Llama-2-7B only. */
function predictedFor(name, method, tokens) {
  if (name !== 'Llama-2-7B' || tokens !== 4096) return null
  const found = predictions.find((one) => one.method === `${method.name}:${method.rank}`)
  return found?.tokensPerSecond ?? null
}
