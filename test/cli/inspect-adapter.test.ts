/** `mora inspect --adapter` counts exactly the trained values, from the adapter's files alone. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { registerMethod } from 'node-mora/adapters'
import { expect, test } from 'vitest'
import { loraXs, loraXsMethod } from '../../examples/adapters/lora-xs.js'
import { newAdapterConfig } from '../../lib/adapters/new-adapter.js'
import { fetchBase } from '../../lib/cli/hub-files.js'
import { adapterFacts, describeAdapter } from '../../lib/cli/inspect/adapter.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../lib/options/index.js'
import { loadTiny, type TinyModel } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { testTerminal } from './terminal.js'

const temporary = useTemporaryFolder()

/** The number of an adapter's trained values, in training and from its files without the model. */
async function counts(name: TinyModel, options: object): Promise<{ trained: number; told: number }> {
  using model = await loadTiny(name)
  await model.addAdapter('a', newAdapterConfig('lora', newAdapterOptions({ method: 'lora', rank: 3, ...options })))
  for (const { parameter } of model.trainableParameters()) {
    // Norms that were not trained yet are all alike.
    if (parameter.name.includes('norm')) parameter.assign(new Float32Array(parameter.elements).fill(1))
  }
  const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
  const folder = join(temporary(), 'adapter')
  await model.saveAdapter('a', folder)
  const { parameters } = await adapterFacts(folder, undefined)
  return { trained, told: parameters }
}

test.each<[string, TinyModel, object]>([
  ['adapters of embeddings and head', 'tiny-untied', { targetModules: ['embed_tokens', 'lm_head', 'q_proj'] }],
  ['norms with equal values', 'tiny-untied', { modulesToSave: ['norms'] }],
  ['untied embeddings and head', 'tiny-untied', { modulesToSave: ['embeddings', 'head'] }],
  ['tied embeddings and head', 'tiny-tied-llama3-rope', { modulesToSave: ['embeddings', 'norms'] }],
])('%s', async (_, model, options) => {
  const { trained, told } = await counts(model, options)
  expect(told).toBe(trained)
})

test.each(ADAPTER_METHODS)('%s', async (method) => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', newAdapterConfig(method, newAdapterOptions({ method, rank: 3 })))
  const folder = join(temporary(), 'adapter')
  await model.saveAdapter('a', folder)
  const trained = model.trainableParameters().reduce((sum, { parameter }) => sum + parameter.elements, 0)
  expect(await adapterFacts(folder, undefined)).toMatchObject({ method, rank: 3, parameters: trained })
})

test('further details of a layer come from the method itself', async () => {
  registerMethod(loraXsMethod)
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', loraXs({ rank: 3, targetModules: ['q_proj'] }))
  const folder = join(temporary(), 'adapter')
  await model.saveAdapter('a', folder)
  const facts = await adapterFacts(folder, undefined)
  expect(facts.layers[0]).toMatchObject({ squareSide: null, innerSide: 3 })
  expect(describeAdapter(facts)).toMatch(/layer +in +out +inner side/)
})

test('an adapter needs --model where its base is not named, is gone, or cannot be downloaded', async () => {
  using model = await loadTiny('tiny-untied')
  await model.addAdapter('a', newAdapterConfig('lora', newAdapterOptions({ method: 'lora', rank: 3 })))
  const folder = join(temporary(), 'adapter')
  await model.saveAdapter('a', folder)
  writeFileSync(join(folder, 'run.yaml'), 'options: [unclosed')
  const path = join(folder, 'adapter_config.json')
  const config = JSON.parse(readFileSync(path, 'utf8'))
  for (const [base, expected] of [
    ['', /^--model is needed: .* does not say which model it belongs to\.$/],
    ['/gone/model', /^--model is needed: the base of .*, \/gone\/model, is not found here\.$/],
    ['nobody/nothing', /^--model is needed, since the base of .* cannot be loaded: .*nobody\/nothing/],
  ] as const) {
    writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: base }))
    expect((await adapterFacts(folder, undefined)).baseModel).toBe(base || null)
    const options = { quiet: true, offline: true }
    await expect(fetchBase(folder, options, testTerminal({ isTTY: false }))).rejects.toThrow(expected)
  }
})
