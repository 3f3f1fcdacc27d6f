/** Models that wrap a text model: every spelling of their tensors' names, what is kept, and adapters as PEFT names them. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { AdapterConfigBase } from '../../lib/adapters/contract/adapter.js'
import { lora } from '../../lib/adapters/methods/lora.js'
import { writeSafetensors } from '../../lib/io/safetensors.js'
import { mergeModel } from '../../lib/models/index.js'
import { safetensorsBytes } from '../io/safetensors-bytes.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { familyFolder, layoutOf, loadFamily } from './families.js'
import { entriesOf, goldenJson, goldenPath, lacksGolden, largestDifference, readTensors } from './files.js'
import { logProbsOf } from './tiny-models.js'

type Json = Record<string, unknown>

interface Expected {
  sequences: number[][]
  logprobs: number[][]
  files: Record<string, { text: string[]; kept: string[] }>
  merged: { keys: string[]; changed: string[] }
  training: Record<string, { modules: string[]; final_logprobs: number[][] }>
}

interface Peft {
  peft: Record<string, { target_modules: string | string[]; modules: Record<string, string[]> }>
}

const path = 'families3/gemma3-wrapped'
const { sequences, logprobs, files, merged, training } = goldenJson<Expected>(`${path}/expected.json`)
const tolerance = 1e-4
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'

const at = useTemporaryFolder()
afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const largestError = (got: readonly number[][], wanted: readonly number[][] = logprobs): number =>
  largestDifference(got.flat(), wanted.flat())

/** Makes a folder of one of the files and one of the configurations. */
function folderOf(file: string, config: string | Json): string {
  const folder = join(at(), 'model')
  mkdirSync(folder)
  copyFileSync(goldenPath(`${path}/${file}.safetensors`), join(folder, 'model.safetensors'))
  const json = typeof config === 'string' ? readFileSync(goldenPath(`${path}/${config}.json`)) : JSON.stringify(config)
  writeFileSync(join(folder, 'config.json'), json)
  return folder
}

/** Makes an adapter of the trained LoRA under other names. */
function adapterOf(rename: (name: string) => string, config: Json = {}): string {
  const from = goldenPath(`${path}/training/lora/final`)
  const folder = join(at(), 'adapter')
  mkdirSync(folder)
  writeFileSync(join(folder, 'adapter_model.safetensors'), renamed(join(from, 'adapter_model.safetensors'), rename))
  const json = JSON.parse(readFileSync(join(from, 'adapter_config.json'), 'utf8')) as Json
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...json, ...config }))
  return folder
}

function renamed(path: string, rename: (name: string) => string): Buffer {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  const header = Object.entries(JSON.parse(file.toString('utf8', 8, start)) as Json)
  const names = header.map(([name, value]) => [name === '__metadata__' ? name : rename(name), value])
  return Buffer.concat([safetensorsBytes(Object.fromEntries(names), 0), file.subarray(start)])
}

const spellings = ['model', 'model-hub', 'model-inner'].flatMap((file) =>
  ['config', 'config-hub', 'config-4'].map((config) => [file, config] as const),
)

describe.each(spellings)('%s with %s', (file, config) => {
  needing(lacksGolden(`${path}/${file}.safetensors`)).test('log-probabilities, and what merging keeps', async () => {
    const folder = folderOf(file, config)
    using model = await loadFamily(folder)
    expect(largestError(await logProbsOf(model, sequences))).toBeLessThan(tolerance)
    const output = join(at(), 'merged')
    const adapter = goldenPath(`${path}/training/lora/final`)
    await mergeModel({ model: folder, adapter, output, device })
    expect(layoutOf(output)).toEqual(layoutOf(folder))
    const [before, after] = [folder, output].map((one) => readTensors(join(one, 'model.safetensors')))
    const isSame = (name: string) => Buffer.compare(before!.get(name)!.bytes, after!.get(name)!.bytes) === 0
    expect(files[file]!.kept.filter((name) => !isSame(name))).toEqual([])
    const changed = [...before!.keys()].filter((name) => !isSame(name))
    expect(changed).toHaveLength(merged.changed.length)
    if (file !== 'model-inner') expect(changed.sort()).toEqual(merged.changed)
    const json = (of: string) => JSON.parse(readFileSync(join(of, 'config.json'), 'utf8')) as Json
    const dtype = { [config === 'config' ? 'dtype' : 'torch_dtype']: file === 'model' ? 'float32' : 'bfloat16' }
    expect(json(output)).toEqual({ ...json(folder), ...dtype })
    using again = await loadFamily(output)
    const rounding = file === 'model' ? tolerance : 0.25
    expect(largestError(await logProbsOf(again, sequences), training.lora!.final_logprobs)).toBeLessThan(rounding)
  })
})

describe.each(['gemma4-e2b', 'ministral3'])('%s', (name) => {
  const model = `families2/${name}`

  needing(lacksGolden(`${model}/training/lora`)).test('what merging keeps, byte for byte', async () => {
    const own = goldenJson<Expected>(`${model}/expected.json`)
    const output = join(at(), 'merged')
    const adapter = goldenPath(`${model}/training/lora/final`)
    await mergeModel({ model: goldenPath(model), adapter, output, device })
    const [before, after] = [goldenPath(model), output].map((one) => readTensors(join(one, 'model.safetensors')))
    expect([...after!.keys()].sort()).toEqual([...before!.keys()].sort())
    const changed = [...before!].filter(([key, { bytes }]) => Buffer.compare(bytes, after!.get(key)!.bytes) !== 0)
    expect(changed).toHaveLength(own.training.lora!.modules.length)
    expect(changed.every(([key]) => key.includes('language_model.'))).toBe(true)
    using merged = await loadFamily(output)
    const got = await logProbsOf(merged, own.sequences)
    expect(largestError(got, own.training.lora!.final_logprobs)).toBeLessThan(1e-3)
  })
})

test('the model saved with other floats keeps the rest as it is', async () => {
  const folder = folderOf('model-hub', 'config-hub')
  const settings = ['preprocessor_config.json', 'processor_config.json', 'video_preprocessor_config.json']
  for (const name of settings) writeFileSync(join(folder, name), name)
  using model = await loadFamily(folder)
  await model.save(join(at(), 'saved'), { dtype: 'float32' })
  const [before, after] = [folder, join(at(), 'saved')].map((one) => readTensors(join(one, 'model.safetensors')))
  for (const name of files['model-hub']!.kept) expect(after!.get(name)!.bytes, name).toEqual(before!.get(name)!.bytes)
  for (const name of settings) expect(readFileSync(join(at(), 'saved', name), 'utf8')).toBe(name)
  using again = await loadFamily(join(at(), 'saved'))
  expect(await logProbsOf(again, sequences)).toEqual(await logProbsOf(model, sequences))
})

test('NF4 is of the text model; the settings leave the rest out', async () => {
  using model = await loadFamily(folderOf('model-hub', 'config-hub'))
  await model.save(join(at(), 'nf4'), { quantise: 'nf4' })
  const tensors = readTensors(join(at(), 'nf4', 'model.safetensors'))
  expect(tensors.has('language_model.model.layers.0.mlp.up_proj.weight.absmax')).toBe(true)
  const { quantization_config: settings } = JSON.parse(readFileSync(join(at(), 'nf4', 'config.json'), 'utf8'))
  expect(settings.llm_int8_skip_modules).toEqual(['lm_head', 'model.multi_modal_projector', 'model.vision_tower'])
  using again = await loadFamily(join(at(), 'nf4'))
  expect(again.source!.storedDType()).toBe('nf4')
  expect(largestError(await logProbsOf(again, sequences))).toBeLessThan(1)
  await again.save(join(at(), 'floats'))
  expect(layoutOf(join(at(), 'floats'))).toEqual(layoutOf(model.path))
})

describe('adapters', () => {
  const { modules } = training.lora!
  const own = 'base_model.model.model.language_model.'

  test.each<[string, string, Json]>([
    ['of PEFT', own, {}],
    ['of the text-only class', 'base_model.model.model.', { target_modules: '.*layers.*_proj' }],
    ['of the text-only class, with names', 'base_model.model.model.', { target_modules: ['q_proj', 'v_proj'] }],
    [
      'of the text-only class, with patterns',
      'base_model.model.model.',
      { r: 2, rank_pattern: Object.fromEntries(modules.map((name) => [name.replace('.language_model', ''), 4])) },
    ],
    ['of older transformers', 'base_model.model.language_model.model.', {}],
  ])('%s are read, and written under PEFT’s names', async (_, prefix, config) => {
    using model = await loadFamily(folderOf('model', 'config'))
    await model.loadAdapter(
      adapterOf((name) => name.replace(own, prefix), config),
      'a',
    )
    expect(largestError(await logProbsOf(model, sequences), training.lora!.final_logprobs)).toBeLessThan(5e-4)
    await model.saveAdapter('a', join(at(), 'saved'))
    const [saved, wanted] = [join(at(), 'saved'), goldenPath(`${path}/training/lora/final`)].map((folder) =>
      [...readTensors(join(folder, 'adapter_model.safetensors')).keys()].sort(),
    )
    expect(saved).toEqual(wanted)
  })

  test('of towers too are read without these, which is said once, and towers stay as they are', async () => {
    const folder = folderOf('model', 'config')
    const adapter = adapterOf((name) => name)
    const file = join(adapter, 'adapter_model.safetensors')
    const tower = 'model.vision_tower.encoder.layers.0.mlp.fc1'
    const tensors = readTensors(file)
    const values = new Float32Array(32).fill(1)
    const bytes = new Uint8Array(values.buffer)
    tensors.set(`base_model.model.${tower}.lora_A.weight`, { shape: [4, 8], values, bytes })
    tensors.set(`base_model.model.${tower}.lora_B.weight`, { shape: [8, 4], values, bytes })
    await writeSafetensors(file, entriesOf(tensors))
    const json = JSON.parse(readFileSync(join(adapter, 'adapter_config.json'), 'utf8')) as Json
    const targets = [...training.lora!.modules, 'fc1']
    writeFileSync(join(adapter, 'adapter_config.json'), JSON.stringify({ ...json, target_modules: targets }))
    using model = await loadFamily(folder)
    const heard: string[] = []
    await model.loadAdapter(adapter, 'a', { onWarning: (message) => heard.push(message) })
    expect(heard).toEqual([
      expect.stringMatching(/also has 1 layers outside of the text model, such as .*fc1: they are left/),
    ])
    expect(largestError(await logProbsOf(model, sequences), training.lora!.final_logprobs)).toBeLessThan(5e-4)
    await mergeModel({ model: folder, adapter, output: join(at(), 'merged'), device, onWarning: () => {} })
    const [before, after] = [folder, join(at(), 'merged')].map((one) => readTensors(join(one, 'model.safetensors')))
    const weight = [...before!.keys()].find((name) => name.endsWith('vision_tower.encoder.layers.0.mlp.fc1.weight'))!
    expect(after!.get(weight)!.bytes).toEqual(before!.get(weight)!.bytes)
  })

  test('of a layer that neither the text model nor a tower has are refused by name', async () => {
    using model = await loadFamily(folderOf('model', 'config'))
    const module = 'model.language_model.layers.9.mlp.up_proj'
    const adapter = adapterOf((name) => name.replace('model.language_model.layers.0.mlp.up_proj', module))
    await expect(model.loadAdapter(adapter, 'a')).rejects.toThrow(
      `it has 1 layers that the model lacks, such as ${module}`,
    )
  })

  const lists = ['attention', 'qv', 'mlp']
  const selecting = needing(lacksGolden('families3/wrapped/peft.json'))

  // PEFT refuses lists of names on Gemma 4, whose towers have layers of these names of another kind.
  selecting.test.each([
    ['gemma3-wrapped', lists],
    ['qwen3_5', lists],
    ['gemma4-e2b', ['attentionExcept']],
  ])('of %s select the language model alone, in PEFT too', async (of, named) => {
    const golden = goldenJson<Record<string, Peft>>('families3/wrapped/peft.json')[of]!.peft
    const all = Object.values(golden.allLinear!.modules).flat()
    using model = await loadFamily(familyFolder(of))
    for (const name of [...named, 'allLinear', 'regex', 'path']) {
      const { target_modules: targets, modules: wanted } = golden[name]!
      const targetModules = (
        typeof targets === 'string' && targets !== 'all-linear' ? new RegExp(`^(?:${targets})$`) : targets
      ) as AdapterConfigBase['targetModules']
      await model.addAdapter(name, lora({ rank: 2, targetModules }))
      await model.saveAdapter(name, join(at(), name))
      const json = JSON.parse(readFileSync(join(at(), name, 'adapter_config.json'), 'utf8')) as Json
      expect(typeof json.target_modules, name).toBe('string')
      const pattern = new RegExp(`^(?:${json.target_modules})$`)
      expect(all.filter((module) => pattern.test(module)).sort(), name).toEqual(wanted.text!.toSorted())
      await model.loadAdapter(join(at(), name), `${name} again`)
    }
  })
})

needing(lacksGolden('families2/qwen3_5/training')).test(
  'Qwen3.5 keeps its tower and its layers that predict more tokens',
  async () => {
    const [folder, output] = [familyFolder('qwen3_5'), join(at(), 'merged')]
    await mergeModel({ model: folder, adapter: join(folder, 'training/lora/final'), output, device })
    const [before, after] = [folder, output].map((one) => readTensors(join(one, 'model.safetensors')))
    expect([...after!.keys()].sort()).toEqual([...before!.keys()].sort())
    const isSame = (name: string) => Buffer.compare(before!.get(name)!.bytes, after!.get(name)!.bytes) === 0
    const { modules } = goldenJson<Expected>('families2/qwen3_5/expected.json').training.lora!
    const changed = [...before!.keys()].filter((name) => !isSame(name))
    expect(changed.sort()).toEqual(modules.map((name) => `${name}.weight`).sort())
  },
)

describe('the configuration', () => {
  const json = goldenJson<Json>(`${path}/config.json`)
  const text = json.text_config as Json

  test('a GGUF file has the text model alone', async () => {
    // GGUF has no place for another scale of scores than the head size gives.
    using model = await loadFamily(folderOf('model', { ...json, text_config: { ...text, query_pre_attn_scalar: 8 } }))
    await model.save(join(at(), 'model.gguf'), { dtype: 'float32' })
    using again = await loadFamily(join(at(), 'model.gguf'))
    expect(again.config.architecture).toBe('gemma3_text')
    expect(largestError(await logProbsOf(again, sequences), await logProbsOf(model, sequences))).toBeLessThan(1e-5)
    await model.addAdapter('a', lora({ rank: 2 }))
    await model.saveAdapter('a', join(at(), 'adapter'))
  })

  test.each<[string, Json, boolean]>([
    ['the outer one decides whether the head is tied', { text_config: { ...text, tie_word_embeddings: false } }, true],
    ['its default is that it is', { tie_word_embeddings: undefined }, true],
  ])('%s', async (_, change, tied) => {
    using model = await loadFamily(folderOf('model', { ...json, ...change }))
    expect(model.config.tiedEmbeddings).toBe(tied)
    expect(largestError(await logProbsOf(model, sequences))).toBeLessThan(tolerance)
  })

  test('a head in the file is not tied, and is written back', async () => {
    const folder = folderOf('model', json)
    const table = 'language_model.model.embed_tokens.weight'
    const tensors = readTensors(join(folder, 'model.safetensors'))
    const all = [...tensors, ['language_model.lm_head.weight', tensors.get(table)!] as const]
    let offset = 0
    const header = Object.fromEntries(
      all.map(([name, { shape, bytes }]) => {
        const entry = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes.length] }
        offset += bytes.length
        return [name, entry]
      }),
    )
    const bytes = Buffer.concat([safetensorsBytes(header, 0), ...all.map(([, tensor]) => tensor.bytes)])
    writeFileSync(join(folder, 'model.safetensors'), bytes)
    using model = await loadFamily(folder)
    expect(model.config.tiedEmbeddings).toBe(false)
    expect(largestError(await logProbsOf(model, sequences))).toBeLessThan(tolerance)
    await model.save(join(at(), 'saved'))
    expect(layoutOf(join(at(), 'saved'))).toEqual(layoutOf(folder))
  })
})
