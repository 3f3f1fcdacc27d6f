/**
 * Makes assets/demo-model, the checkpoint of `npm run demo` and of the examples: a small Llama, trained from scratch on one
 * core in about two minutes. It learns what a fact looks like (`uuid:uuid`), to tell 256 of them by heart, and short
 * sentences. The demo's facts come from another random stream, so the model has seen none of them.
 *
 *     npm run build && node scripts/pretrain-demo.mjs
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { initModel, loadTokenizer } from 'node-mora'
import { randomStream } from 'node-mora/adapters'
import { randomFacts } from '../bench/common/internals.mjs'
import { pretrain, writeSmallLlama } from './small-llama.mjs'

const output = fileURLToPath(new URL('../assets/demo-model', import.meta.url))
const SEED = 20240520

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
  writeSmallLlama(folder, { hiddenSize: 128, intermediateSize: 384, heads: 4, maxLength: 256 })
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
await pretrain(model, rows(), 500, console.log)
await model.save(output, { dtype: 'float16', overwrite: true })
console.log(`saved ${output}`)
