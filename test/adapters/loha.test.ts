/** LoHa in PEFT's files: the change of weights against PEFT's formula in float64, what is written, and what is refused. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loha } from '../../lib/adapters/methods/loha.js'
import { randomStream } from '../../lib/common/random.js'
import { writeSafetensors } from '../../lib/io/safetensors.js'
import { entriesOf, type GoldenTensor, largestDifference, largestOf, readTensors } from '../golden/files.js'
import { loadTiny } from '../golden/tiny-models.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const temporary = useTemporaryFolder()

/** `adapter_config.json` as `LoHaConfig(r=3, alpha=5, …).save_pretrained` of PEFT writes it. */
const config = {
  alpha: 5,
  alpha_pattern: { v_proj: 7 },
  auto_mapping: null,
  base_model_name_or_path: '',
  exclude_modules: null,
  inference_mode: true,
  init_weights: true,
  layers_pattern: null,
  layers_to_transform: null,
  module_dropout: 0,
  modules_to_save: null,
  peft_type: 'LOHA',
  r: 3,
  r2: null,
  rank_dropout: 0,
  rank_pattern: { 'layers.1.self_attn.q_proj': 2 },
  revision: null,
  target_modules: ['q_proj', 'v_proj'],
  task_type: 'CAUSAL_LM',
  use_effective_conv2d: false,
  use_khatri_rao: 'auto',
}

const random = randomStream(11, 'loha')

function randomTensor(shape: readonly number[]): GoldenTensor {
  const values = Float32Array.from({ length: shape[0]! * shape[1]! }, () => 0.3 * random.normal())
  return { shape, values, bytes: new Uint8Array(values.buffer) }
}

async function writeAdapter(folder: string, changed: object = {}): Promise<Map<string, GoldenTensor>> {
  using model = await loadTiny('tiny-untied')
  const tensors = new Map<string, GoldenTensor>()
  for (const { name, inFeatures, outFeatures } of model.linears()) {
    if (!/[qv]_proj$/.test(name)) continue
    const rank = name.endsWith('layers.1.self_attn.q_proj') ? 2 : 3
    for (const [part, shape] of Object.entries({
      hada_w1_a: [outFeatures, rank],
      hada_w1_b: [rank, inFeatures],
      hada_w2_a: [outFeatures, rank],
      hada_w2_b: [rank, inFeatures],
    })) {
      tensors.set(`base_model.model.${name}.${part}`, randomTensor(shape))
    }
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, ...changed }))
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), entriesOf(tensors))
  return tensors
}

/** Returns ((w1_a w1_b) ⊙ (w2_a w2_b)) alpha / r in float64. */
function changeOf(name: string, tensors: ReadonlyMap<string, GoldenTensor>): Float64Array {
  const [a1, b1, a2, b2] = ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b'].map(
    (part) => tensors.get(`base_model.model.${name}.${part}`)!,
  ) as [GoldenTensor, GoldenTensor, GoldenTensor, GoldenTensor]
  const [d, rank, k] = [a1.shape[0]!, a1.shape[1]!, b1.shape[1]!]
  const alpha = name.endsWith('v_proj') ? 7 : 5
  const entry = (left: GoldenTensor, right: GoldenTensor, row: number, column: number) => {
    let sum = 0
    for (let i = 0; i < rank; i++) sum += left.values[row * rank + i]! * right.values[i * k + column]!
    return sum
  }
  return Float64Array.from({ length: d * k }, (_, at) => {
    const [row, column] = [Math.floor(at / k), at % k]
    return (entry(a1, b1, row, column) * entry(a2, b2, row, column) * alpha) / rank
  })
}

test("PEFT's files change weights by its formula, and are written again with the same entries", async () => {
  const tensors = await writeAdapter(temporary())
  using model = await loadTiny('tiny-untied')
  const adapted = model.linears().filter(({ name }) => /[qv]_proj$/.test(name))
  const weights = () => Promise.all(adapted.map(({ weight }) => weight.data() as Promise<Float32Array>))
  const before = await weights()
  await model.loadAdapter(temporary(), 'a')
  await model.mergeAdapter('a')
  const after = await weights()
  for (const [i, { name }] of adapted.entries()) {
    const wanted = changeOf(name, tensors)
    expect(largestOf(wanted), name).toBeGreaterThan(0.1)
    const got = after[i]!.map((value, at) => value - before[i]![at]!)
    expect(largestDifference(got, wanted), name).toBeLessThan(1e-6)
  }
  await model.unmergeAdapter('a')
  expect(await weights()).toEqual(before)

  await model.saveAdapter('a', join(temporary(), 'again'))
  const saved = readTensors(join(temporary(), 'again', 'adapter_model.safetensors'))
  expect([...saved.keys()].sort()).toEqual([...tensors.keys()].sort())
  for (const [key, { shape, values }] of tensors) expect(saved.get(key), key).toMatchObject({ shape, values })
  const again = JSON.parse(readFileSync(join(temporary(), 'again', 'adapter_config.json'), 'utf8'))
  const { alpha, alpha_pattern, init_weights, module_dropout, peft_type, r, rank_dropout, rank_pattern } = config
  const decisive = { alpha, alpha_pattern, init_weights, module_dropout, peft_type, r, rank_dropout, rank_pattern }
  expect(again).toMatchObject(decisive)
  expect([...again.target_modules].sort()).toEqual(config.target_modules)
})

test.each([
  ['r2', 4],
  ['use_khatri_rao', true],
  ['init_weights', 'abba'],
  ['rank_dropout', 0.1],
  ['module_dropout', 0.5],
])('%s %j of PEFT is refused by name', async (key, value) => {
  await writeAdapter(temporary(), { [key]: value })
  using model = await loadTiny('tiny-untied')
  await expect(model.loadAdapter(temporary())).rejects.toThrow(
    `adapter_config.json has ${key} ${JSON.stringify(value)}, which is not supported: merge it with PEFT`,
  )
})

test('it starts as in PEFT: one factor is zero, the others are uniform by their rows', async () => {
  using model = await loadTiny('tiny-untied')
  model.addAdapter('a', loha({ rank: 4, targetModules: ['up_proj'] }))
  const { inFeatures } = model.linears().find(({ name }) => name.endsWith('up_proj'))!
  const bounds = { hada_w1_a: 0.5, hada_w1_b: 1 / Math.sqrt(inFeatures), hada_w2_a: 0.5, hada_w2_b: 0 }
  for (const [part, bound] of Object.entries(bounds)) {
    const { parameter } = model.trainableParameters().find(({ name }) => name.endsWith(`up_proj.${part}`))!
    const largest = largestOf(await parameter.data())
    expect(largest, part).toBeLessThanOrEqual(Math.fround(bound))
    expect(largest, part).toBeGreaterThanOrEqual(0.95 * bound)
  }
})
