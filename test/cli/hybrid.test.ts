/** Commands on a model of convolutions and attention: what it keeps between tokens is a state. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { initModel, loadModel } from '../../lib/models/index.js'
import { familyFolder } from '../golden/families.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'
import { moraJson } from './mora.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)
const texts = ['The boats are in the harbour, and it is raining.', 'The miller answered the message in the morning.']

/** An LFM2 with random weights and the tests' tokenizer; convolutions are of another length than usual, and have biases. */
async function newModel(conv_bias: boolean): Promise<string> {
  const tokenizer = await loadSmallTokenizer()
  const json = JSON.parse(readFileSync(join(familyFolder('lfm2'), 'config.json'), 'utf8'))
  const config = { ...json, vocab_size: tokenizer.vocabularySize, hidden_size: 64, conv_L_cache: 5, conv_bias }
  writeFileSync(at('config.json'), JSON.stringify(config))
  using model = await initModel(at('config.json'), { tokenizer, seed: 3, device: 'cpu' })
  await model.save(at('model'))
  return at('model')
}

/** Runs a command in float32 on two threads, and returns its document. */
async function done(...argv: string[]) {
  const { exitCode, json, stderr } = await moraJson(...argv, '--device', 'cpu', '--threads', '2', '--quiet')
  expect(exitCode, stderr + JSON.stringify(json)).toBe(0)
  return json
}

/** Writes rows and trains on them in float32; returns the loss of the last step. */
async function train(model: string, output: string, ...more: string[]): Promise<number> {
  writeFileSync(at('rows.jsonl'), texts.map((text) => JSON.stringify({ text })).join('\n'))
  const argv = ['train', '--model', model, '--data', at('rows.jsonl'), '--output', at(output), '--dtype', 'float32']
  return (await done(...argv, '--learning-rate', '0.01', ...more)).loss
}

test('mora trains, merges and generates', async () => {
  expect(await train(await newModel(false), 'trained', '--method', 'full', '--max-steps', '60')).toBeLessThan(0.5)
  const model = at('trained/model')
  await train(model, 'adapter', '--method', 'mora', '--max-steps', '5')
  await done('merge', '--model', model, '--adapter', at('adapter'), '--output', at('merged'))

  const prompt = ['--raw', '--prompt', 'The boats are in', '--max-new-tokens', '6', '--dtype', 'float32']
  const { text } = await done('generate', '--model', model, '--adapter', at('adapter'), ...prompt)
  expect(text).toMatch(/^ the harbour, and/)
  expect((await done('generate', '--model', at('merged'), ...prompt)).text).toBe(text)
})

test('convolutions with biases are trained whole; GGUF has no place for these', async () => {
  const model = await newModel(true)
  await train(model, 'trained', '--method', 'full', '--max-steps', '3')
  using before = await loadModel(model, { device: 'cpu' })
  using after = await loadModel(at('trained/model'), { device: 'cpu' })
  for (const kind of ['weight', 'bias']) {
    const name = `model.layers.0.conv.conv.${kind}`
    expect(await after.slot(name).own.data(), name).not.toEqual(await before.slot(name).own.data())
  }
  await expect(after.save(at('trained.gguf'))).rejects.toThrow(/GGUF file of architecture lfm2 cannot say/)
})
