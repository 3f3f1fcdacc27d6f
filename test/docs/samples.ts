/** The files that pages name: a tiny model in place of a real one, and rows for every task. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StandIn } from '../hub/stand-in.js'
import { smallTokenizerFolder, templatePath } from '../text/tokenizer/small-tokenizer.js'

/** The names of the models in pages. */
export const MODEL = 'SmolLM2-135M-Instruct.Q4_1.gguf'

const CONFIG = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
  eos_token_id: 1,
}

const sums = Array.from({ length: 16 }, (_, i) => ({ a: i + 2, b: 3 * i + 1 }))

/** Rows with the columns for training and for every task except `choices`. */
const rows = sums.map(({ a, b }) => ({
  prompt: `What is ${a} + ${b}?`,
  completion: `It is ${a + b}. #### ${a + b}`,
  answer: `${a + b}`,
}))
const instructions = sums.map(({ a, b }) => ({ instruction: 'Add.', input: `${a} and ${b}`, output: `${a + b}` }))
const questions = sums.map(({ a, b }, i) => ({
  question: `What is ${a} + ${b}?`,
  choices: [`${a + b}`, `${a + b + 1}`],
  answer: 0,
  subject: i % 2 ? 'odd' : 'even',
}))
const preferences = sums.map(({ a, b }) => ({
  prompt: `What is ${a} + ${b}?`,
  chosen: `It is ${a + b}.`,
  rejected: `It is ${a - b}.`,
}))
const labelled = sums.map(({ a, b }) => ({ text: `${a} and ${b}`, label: a < b ? 'less' : 'more' }))
const related = sums.map(({ a, b }) => ({ anchor: `${a} + ${b}`, positive: `${a + b}` }))
const jsonl = (values: readonly object[]) => values.map((value) => JSON.stringify(value)).join('\n')

/** Writes the files that need no model to be made. */
export function writeSamples(folder: string): void {
  const at = (name: string) => join(folder, name)
  writeFileSync(at('config.json'), JSON.stringify(CONFIG))
  mkdirSync(at('tokenizer'))
  const tokenizer = (name: string, more: object) => {
    const json = JSON.parse(readFileSync(join(smallTokenizerFolder, name), 'utf8'))
    writeFileSync(at(`tokenizer/${name}`), JSON.stringify({ ...json, ...more }))
  }
  // Words are split as by GPT-2, which GGUF has a name for.
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true }
  tokenizer('tokenizer.json', { pre_tokenizer: byteLevel })
  tokenizer('tokenizer_config.json', { chat_template: readFileSync(templatePath('chatml'), 'utf8') })
  writeFileSync(at('preferences.jsonl'), jsonl(preferences))
  cpSync(join(import.meta.dirname, '../../examples/rewards.ts'), at('rewards.ts'))
  writeFileSync(at('labelled.jsonl'), jsonl(labelled))
  writeFileSync(at('related.jsonl'), jsonl(related))
  for (const name of ['train.jsonl', 'valid.jsonl', 'facts.jsonl']) writeFileSync(at(name), jsonl(rows))
  writeFileSync(at('test.jsonl'), jsonl(rows.slice(0, 2)))
  writeFileSync(at('questions.jsonl'), jsonl(questions))
  writeFileSync(at('valid.txt'), sums.map(({ a, b }) => `The sum of ${a} and ${b} is ${a + b}.`).join(' '))
  writeFileSync(
    at('train.csv'),
    `prompt,completion\n${rows.map((row) => `${row.prompt},"${row.completion}"`).join('\n')}`,
  )
}

/** Files that commands make from them, in this order. */
export const MADE = [
  {
    language: 'sh',
    code: `mora train --init config.json --model tokenizer --data valid.txt --output base --max-steps 1 --quiet
mv base/model model
rm -r base`,
  },
  {
    language: 'ts',
    code: `import { loadModel } from 'node-mora'
const model = await loadModel('model', { device: 'cpu' })
await model.save('${MODEL}', { dtype: 'float32' })
model.dispose()`,
  },
  {
    language: 'sh',
    code: `mora train --model ${MODEL} --data train.jsonl --output out --max-steps 4 --save-every 2 --quiet
mora train --model ${MODEL} --data train.jsonl --output sharing --operator sharing --max-steps 2 --quiet
mora merge --model ${MODEL} --adapter out --output merged --quiet
mkdir runs
cp -r out runs/first`,
  },
]

/** Adds the repositories that pages name to the hub. */
export function fillHub(hub: StandIn, samples: string): void {
  const files = Object.fromEntries(
    readdirSync(join(samples, 'model')).map((name) => [name, readFileSync(join(samples, 'model', name))]),
  )
  for (const id of ['HuggingFaceTB/SmolLM2-135M-Instruct', 'HuggingFaceTB/SmolLM2-135M']) {
    hub.add({ kind: 'model', id, files })
  }
  hub.add({ kind: 'dataset', id: 'yahma/alpaca-cleaned', files: { 'train.jsonl': jsonl(instructions) } })
}
