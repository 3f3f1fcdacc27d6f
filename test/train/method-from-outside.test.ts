/** `train` with a custom method: its options, the run's files, resuming, and loading. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AdapterMethod, checkedConfig, dropoutEntry, numberEntry, optionalReal } from 'node-mora/adapters'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { type LoraXsConfig, loraXsMethod } from '../../examples/adapters/lora-xs.js'
import { type TrainOptions, train } from '../../lib/train/train.js'
import { readTensors } from '../golden/files.js'
import { expectedOf, loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { writeRows } from './tiny-run.js'

interface GainConfig extends Omit<LoraXsConfig, 'method'> {
  readonly method: 'xs-gain'
  readonly gain: number
}

const fields = { gain: optionalReal('what M is multiplied by', { above: 0 }) }

/** LoRA-XS with a factor of its own. */
const xsGain: AdapterMethod<GainConfig, typeof fields> = {
  ...(loraXsMethod as unknown as AdapterMethod<GainConfig>),
  name: 'xs-gain',
  options: fields,
  config(options) {
    const { gain = 1, ...config } = checkedConfig(fields, options)
    return { ...config, method: 'xs-gain', gain }
  },
  peft: { peft_type: 'XS_GAIN', gain: numberEntry('gain'), xs_dropout: dropoutEntry },
}

const folder = useTemporaryFolder()
const rows = expectedOf('tiny-untied').sequences.map((input_ids) => ({ input_ids }))
const weightsOf = (path: string) => readTensors(join(path, 'adapter_model.safetensors'))

const checkpointsOf = (output: string) =>
  readdirSync(join(output, 'checkpoints')).map((name) => join(output, 'checkpoints', name))

const optionsOf = (output: string) => ({
  method: xsGain,
  rank: 3,
  gain: 2.5,
  targetModules: ['q_proj', 'up_proj'],
  dropout: 0.1,
  data: writeRows(folder(), 'rows.jsonl', rows),
  output,
  maxSteps: 4,
  batchSize: 2,
  saveEvery: 2,
})

async function runOf<Own extends typeof fields>(options: TrainOptions<Own>) {
  using model = await loadTiny('tiny-untied')
  await train(model, options).finished
}

test('it is trained with its own options, saved, resumed bit for bit, and loaded', async () => {
  const [whole, resumed] = [join(folder(), 'whole'), join(folder(), 'resumed')]
  await runOf(optionsOf(whole))
  const recorded = parse(readFileSync(join(whole, 'run.yaml'), 'utf8')).options
  expect(recorded).toMatchObject({ method: 'xs-gain', rank: 3, gain: 2.5, dropout: 0.1, learningRate: 1e-3 })
  expect(readFileSync(join(whole, 'README.md'), 'utf8')).toContain('library_name: node-mora')

  await runOf({ ...optionsOf(resumed), resume: checkpointsOf(whole)[0]! })
  expect(weightsOf(resumed)).toEqual(weightsOf(whole))

  using model = await loadTiny('tiny-untied')
  expect(await model.loadAdapter(whole)).toMatchObject({ method: 'xs-gain', gain: 2.5, rank: 3 })
  // The active adapter is trained, and given options must match it.
  const again = optionsOf(join(folder(), 'again'))
  await expect(train(model, { ...again, gain: 3 }).finished).rejects.toThrow(
    'The option gain is 3, but the active adapter default has 2.5',
  )
  await train(model, again).finished
})

test('a rank can be chosen by a budget', async () => {
  const { rank: _, ...options } = optionsOf(join(folder(), 'budget'))
  await runOf({ ...options, matchParametersOf: 'lora:1' })
  const { rank: got } = parse(readFileSync(join(folder(), 'budget', 'run.yaml'), 'utf8')).options
  using model = await loadTiny('tiny-untied')
  const layers = model.linears().filter(({ name }) => /q_proj|up_proj/.test(name))
  const budget = layers.reduce((sum, { inFeatures, outFeatures }) => sum + inFeatures + outFeatures, 0)
  const distance = (rank: number) => Math.abs(layers.length * rank ** 2 - budget)
  expect(distance(got)).toBeLessThan(Math.min(distance(got - 1), distance(got + 1)))
})

test('wrong options are refused by name, also those of other methods', async () => {
  using model = await loadTiny('tiny-untied')
  const options = optionsOf(join(folder(), 'refused'))
  const refusal = (more: object) => () => train(model, { ...options, ...more } as TrainOptions<typeof fields>)
  expect(refusal({ gain: -1 })).toThrow('Expected a number above 0 for gain but received -1.')
  expect(refusal({ gian: 2 })).toThrow('Unknown option gian; did you mean gain?')
  expect(refusal({ alpha: 2 })).toThrow(/^alpha does not go with method xs-gain: it is an option of lora and /)
  expect(refusal({ mergeEvery: 2 })).toThrow(/^mergeEvery does not go with method xs-gain: it is an option of /)
  expect(refusal({ method: { name: 'xs-gain' } })).toThrow(/^Expected a method of adapters for method but received /)
  expect(refusal({ method: { ...xsGain } })).toThrow('There is a method xs-gain already; give yours another name.')
  expect(refusal({ method: { ...xsGain, name: 'full' } })).toThrow('There is a method full already')

  // The method's options are options of the call, by type as well.
  const data = 'rows.jsonl'
  const typed = [
    () => train(model, { data, method: xsGain, gain: 2 }),
    // @ts-expect-error: a number
    () => train(model, { data, method: xsGain, gain: 'much' }),
    // @ts-expect-error: no such option
    () => train(model, { data, method: xsGain, gian: 2 }),
    // @ts-expect-error: no option of lora
    () => train(model, { data, method: 'lora', gain: 2 }),
  ]
  expect(typed).toHaveLength(4)
})
