// The models that training steps are measured with, with random weights, and how.

import { AdamW, Model } from 'node-mora'
import { packedBatch } from '../common/batch.mjs'
import { parseConfig, Weights } from '../common/internals.mjs'
import { adapterConfig } from '../common/methods.mjs'
import { fillNormal } from '../common/random.mjs'
import { trainStep } from '../common/train-step.mjs'
import { llama2 } from '../cuda-model/llama.mjs'
import { clocked, profiled, totalSeconds } from './timing.mjs'

const smollm2 = {
  ...llama2,
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
const small = { vocab_size: 60, hidden_size: 48, intermediate_size: 64, num_hidden_layers: 1 }
export const trainingRuns = (tiny) =>
  tiny
    ? [{ name: 'SmolLM2, tiny', config: { ...smollm2, ...small, num_attention_heads: 6 }, rows: 2, length: 6 }]
    : [
        { name: 'SmolLM2-135M', config: smollm2, rows: 8, length: 2048 },
        // Weights, activations of every block, and a reserve.
        { name: 'Llama-2-7B', config: llama2, rows: 1, length: 4096, needs: 70 * 2 ** 30 },
      ]

/** Tells whether a device has the memory for a run, and prints a line if it has not. */
export function fits(device, { name, needs = 0 }) {
  if (needs <= device.facts().totalMemory) return true
  console.log(`${name} is left out: it needs a device with ${needs / 2 ** 30} GiB.`)
  return false
}

/** Tokens of a run, the same for every model and method. */
export const idsOf = ({ config, rows, length }) =>
  Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * 7919 + (i >> 3)) % config.vocab_size)

/** A step of a run with an adapter: seconds by the clock and by the device's events, memory and loss. */
export async function measureStep(device, { name, config, rows, length }, method, repeats) {
  const parsed = parseConfig(config, name)
  const deviation = 0.02 // as such models are initialised
  const loadInto = (_, target) => void fillNormal(target, deviation)
  const weights = new Weights({ config: parsed, loadInto }, device, 'bfloat16')
  const model = new Model({ tokenizer: null, source: null, weights })
  model.addAdapter('measured', adapterConfig(method))
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const batch = packedBatch(idsOf({ config, rows, length }), rows, length)
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
    peak,
    loss,
    operations,
  }
}
