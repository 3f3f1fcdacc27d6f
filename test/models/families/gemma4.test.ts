/** Gemma 4 in the shapes of its sizes: keys and values that layers share, keys that are values, inputs of every layer's own. */
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { initModel, loadModel, type Model } from '../../../lib/models/index.js'
import { drawn } from '../../drawn.js'
import { largestDifference, largestOf } from '../../golden/files.js'
import { batchOf, gradientsOf, logProbsOf } from '../../golden/tiny-models.js'
import { fileOf, useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { lacksCpu, lacksEmulation, needing } from '../../needs.js'
import { testDevice } from '../../operations/harness.js'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

type Json = Record<string, unknown>

const config: Json = {
  model_type: 'gemma4_text',
  vocab_size: 60,
  vocab_size_per_layer_input: 60,
  hidden_size: 24,
  intermediate_size: 20,
  num_hidden_layers: 7,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  global_head_dim: 12,
  hidden_size_per_layer_input: 5,
  num_kv_shared_layers: 3,
  use_double_wide_mlp: true,
  sliding_window: 5,
  layer_types: Array.from({ length: 7 }, (_, i) => (i % 3 === 0 ? 'full_attention' : 'sliding_attention')),
  max_position_embeddings: 128,
  final_logit_softcapping: 20,
  initializer_range: 0.15,
}

const lengths = [1, 13, 4, 22]
const rows = lengths.map((length, row) => ({
  input_ids: Array.from({ length: length + 1 }, (_, i) => (7 * row + i * (i + 3)) % 60),
}))
const sequences = rows.map(({ input_ids }) => input_ids)
const batch = batchOf(rows)

function made(changes: Json, seed = 1): Promise<Model> {
  const path = fileOf(at(), 'config.json', JSON.stringify({ ...config, ...changes }))
  return initModel(path, { device: testDevice().kind, dtype: 'float32', threads: 2, seed })
}

const largestIn = (gradients: ReadonlyMap<string, Float32Array>): number =>
  Math.max(...[...gradients.values()].map(largestOf))

/** Copies the weights of one model into another, each from the one that `source` names. */
function copyWeights(from: Model, to: Model, source: (name: string) => string): void {
  for (const { name, own } of to.slots) own.floats!.copyFrom(from.slot(source(name)).own.floats!)
}

const shapes: [string, Json][] = [
  ['as in E2B', {}],
  ['as in 31B', { hidden_size_per_layer_input: 0, num_kv_shared_layers: 0, attention_k_eq_v: true }],
  ['with a head of its own, and one key head', { tie_word_embeddings: false, num_key_value_heads: 1 }],
  ['with keys that are values and are shared', { attention_k_eq_v: true, num_global_key_value_heads: 1 }],
  ['without shared keys', { num_kv_shared_layers: 0, attention_bias: true, use_double_wide_mlp: false }],
  ['with all but two layers shared', { num_kv_shared_layers: 5 }],
]

describe.each(drawn('shapes of Gemma 4', shapes, lacksEmulation === null ? 1 : 3))('%s', (_, changes) => {
  test('packed or not, recomputed or kept: the same gradients', async () => {
    using model = await made(changes)
    model.trainAll()
    const wanted = await gradientsOf(model, batch)
    const apart = await gradientsOf(model, ...rows.map((row) => batchOf([row])))
    const scale = largestIn(wanted)
    for (const [name, gradient] of wanted)
      expect(largestDifference(apart.get(name)!, gradient) / scale, name).toBeLessThan(1e-5)
    model.gradientCheckpointing = true
    expect(await gradientsOf(model, batch)).toEqual(wanted)
  })

  // Other devices have tests of single kernels, and this would take long on the emulator.
  needing(lacksCpu).test('gradients are those of finite differences', async () => {
    using model = await made(changes)
    model.trainAll()
    const wanted = await gradientsOf(model, batch)
    const scale = largestIn(wanted)
    for (const { name, parameter } of model.trainableParameters()) {
      const gradient = wanted.get(name)!
      const norm = Math.hypot(...gradient)
      if (norm < 0.01 * scale) continue
      const values = (await parameter.data()) as Float32Array
      const lossAt = async (distance: number) => {
        parameter.assign(values.map((value, i) => value + (distance * gradient[i]!) / norm))
        return -(await model.tokenLogProbs(batch)).reduce((sum, value) => sum + value, 0)
      }
      const step = 0.01 / (norm + 5)
      const [ahead, behind] = [await lossAt(step), await lossAt(-step)]
      parameter.assign(values)
      expect(Math.abs((ahead - behind) / (2 * step * norm) - 1), name).toBeLessThan(1e-2)
    }
  })

  test('with a cache or without: the same log-probabilities', async () => {
    using model = await made(changes)
    const wanted = await logProbsOf(model, sequences)
    const ids = sequences.at(-1)!
    using cache = model.createCache(ids.length)
    for (let from = 0, to = 7; to < ids.length; from = to, to += 1 + (to % 2)) {
      const logits = await model.nextLogits(ids.slice(from, to), cache)
      const lse = Math.log(logits.reduce((sum, value) => sum + Math.exp(value), 0))
      expect(Math.abs(logits[ids[to]!]! - lse - wanted.at(-1)![to - 1]!)).toBeLessThan(1e-4)
    }
  })

  test('written and read again: the same model, adapted or merged', async () => {
    using model = await made(changes)
    model.addAdapter('a', lora({ rank: 2, targetModules: 'all-linear' }))
    for (const { parameter } of model.trainableParameters())
      parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => 0.1 * Math.sin(i)))
    const wanted = (await logProbsOf(model, sequences)).flat()
    await model.saveAdapter('a', join(at(), 'adapter'))
    await model.save(join(at(), 'base'))
    using base = await loadModel(join(at(), 'base'), { device: testDevice().kind, dtype: 'float32', threads: 2 })
    await base.loadAdapter(join(at(), 'adapter'))
    expect((await logProbsOf(base, sequences)).flat()).toEqual(wanted)
    await base.mergeAdapter('default')
    expect(largestDifference((await logProbsOf(base, sequences)).flat(), wanted)).toBeLessThan(1e-4)
  })
})

test('values that are keys are those of equal projections, whose gradients add up', async () => {
  const shared = { num_kv_shared_layers: 3, attention_k_eq_v: true }
  using alike = await made(shared)
  using apart = await made({ ...shared, attention_k_eq_v: false })
  copyWeights(alike, apart, (name) => (alike.slot(name) ? name : name.replace('v_proj', 'k_proj')))
  const values = ['model.layers.0', 'model.layers.3'].map((layer) => `${layer}.self_attn.v_proj.weight`)
  expect(apart.slots.map(({ name }) => name).filter((name) => !alike.slot(name))).toEqual(values)
  for (const model of [alike, apart]) model.trainAll()
  const [got, wanted] = [await gradientsOf(alike, batch), await gradientsOf(apart, batch)]
  for (const name of values) {
    const key = name.replace('v_proj', 'k_proj')
    wanted.set(
      key,
      wanted.get(key)!.map((value, i) => value + wanted.get(name)![i]!),
    )
  }
  for (const [name, gradient] of got) {
    expect(largestDifference(gradient, wanted.get(name)!) / largestOf(gradient), name).toBeLessThan(1e-4)
  }
})

test('without inputs of their own, layers compute what they do where these are 0', async () => {
  using without = await made({ hidden_size_per_layer_input: 0 })
  using zeros = await made({})
  for (const { name, own } of zeros.slots) {
    const other = without.slot(name)
    if (other) own.floats!.copyFrom(other.own.floats!)
    else if (name.endsWith('per_layer_projection.weight')) own.floats!.assign(new Float32Array(own.floats!.elements))
  }
  expect(await logProbsOf(zeros, sequences)).toEqual(await logProbsOf(without, sequences))
})
