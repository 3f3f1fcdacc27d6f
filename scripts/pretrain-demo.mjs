/**
 * Makes assets/demo-model, the checkpoint of `npm run demo` and of the examples: a small Llama, trained from scratch on one
 * core in about two minutes. It learns what a fact looks like (`uuid:uuid`), to tell 256 of them by heart, and short
 * sentences. The demo's facts come from another random stream, so the model has seen none of them.
 *
 *     npm run build && node scripts/pretrain-demo.mjs
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AdamW, DataLoader, initModel, loadTokenizer, schedule } from 'node-mora'
import { randomStream } from 'node-mora/adapters'
import { randomFacts } from '../bench/common/internals.mjs'
import { characterTokenizer } from './character-tokenizer.mjs'

const output = fileURLToPath(new URL('../assets/demo-model', import.meta.url))
const STEPS = 500
const BATCH_SIZE = 64
const SEED = 20240520

const configOf = (vocabularySize) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: vocabularySize,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 256,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  initializer_range: 0.05,
  tie_word_embeddings: true,
  bos_token_id: null,
  eos_token_id: 0,
})

/** Yields rows without end: three facts to a sentence. */
function* rows() {
  const random = randomStream(SEED, 'rows')
  const pick = (list) => list[Math.floor(random.uniform() * list.length)]
  const facts = randomFacts(256, SEED)
  const people = ['Ada', 'Bruno', 'Chen', 'Dora', 'Emil', 'Fatima']
  const verbs = ['has', 'finds', 'buys', 'sells', 'counts']
  const things = ['apples', 'books', 'cups', 'keys', 'stones']
  while (true) {
    for (let i = 0; i < 3; i++) yield pick(facts)
    yield { text: `${pick(people)} ${pick(verbs)} ${2 + Math.floor(random.uniform() * 98)} ${pick(things)}.` }
  }
}

async function makeModel() {
  const folder = mkdtempSync(join(tmpdir(), 'pretrain-demo-'))
  const write = (name, content) => writeFileSync(join(folder, name), `${JSON.stringify(content, null, 1)}\n`)
  const { tokenizer, settings, size } = characterTokenizer({ maxLength: 256 })
  write('tokenizer.json', tokenizer)
  write('tokenizer_config.json', settings)
  write('config.json', configOf(size))
  const model = await initModel(join(folder, 'config.json'), {
    device: 'cpu',
    dtype: 'float32',
    threads: 1,
    seed: SEED,
    tokenizer: await loadTokenizer(folder),
  })
  rmSync(folder, { recursive: true })
  return model
}

const model = await makeModel()
model.trainAll()
const parameters = model.trainableParameters().map(({ parameter }) => parameter)
const optimizer = new AdamW(parameters, { beta2: 0.98, weightDecay: 0.01 })
const rate = schedule({ learningRate: 2e-3, totalSteps: STEPS, warmupSteps: 50, minLearningRateRatio: 0.05 })
let step = 0
for await (const batch of new DataLoader(rows(), { batchSize: BATCH_SIZE, tokenizer: model.tokenizer })) {
  const { loss, targetTokens } = model.loss(batch)
  await loss.backward()
  const norm = optimizer.step({ learningRate: rate(step), scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
  norm.dispose()
  step++
  if (step % 50 === 0) console.log(`step ${step}/${STEPS}  loss ${((await loss.item()) / targetTokens).toFixed(4)}`)
  loss.dispose()
  if (step === STEPS) break
}
await model.save(output, { dtype: 'float16' })
console.log(`saved ${output}`)
