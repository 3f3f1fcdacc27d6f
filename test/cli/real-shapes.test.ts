/** Commands on wrapped models of real shapes, with a few blocks, a small vocabulary, random weights and tiny towers. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { parseConfig } from '../../lib/models/families/parse-config.js'
import { normsOf, weightShapes } from '../../lib/models/network/plan.js'
import { halfFromFloat32 } from '../../lib/tensor/half.js'
import { drawn } from '../drawn.js'
import { type RawTensor, readRawTensors, writeRawTensors } from '../golden/tensor-files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { smallTokenizerFolder } from '../text/tokenizer/small-tokenizer.js'
import { moraJson } from './mora.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)

type Json = Record<string, unknown>

const checkpoints = new URL('../../bench/families/checkpoints.mjs', import.meta.url).href
const { CHECKPOINTS, cutConfig } = (await import(checkpoints)) as {
  CHECKPOINTS: Record<string, { config: Json }>
  cutConfig(of: { config: Json }, layers: number, sizes: { positions: number; vocabulary: number }): Json
}

interface Published {
  id: string
  /** The outer configuration. */
  outer: Json
  /** Of the blocks that are left; with the number of them that share keys and values. */
  layerTypes: string[]
  shared?: number
  /** The beginning of the text model's names in the file, instead of `model.language_model.`. */
  prefix?: string
  /** Text weights that are float32 in a file of bfloat16. */
  float32?: RegExp
  /** Tensors beside the text model, of a few values. */
  towers: Record<string, number[]>
}

const published: Published[] = [
  {
    id: 'Qwen/Qwen3.5-4B',
    outer: { model_type: 'qwen3_5', architectures: ['Qwen3_5ForConditionalGeneration'], tie_word_embeddings: true },
    layerTypes: ['linear_attention', 'full_attention'],
    float32: /A_log$|linear_attn\.norm\.weight$/,
    towers: {
      'model.visual.patch_embed.proj.weight': [16, 3, 2, 4, 4],
      'model.visual.blocks.0.attn.qkv.weight': [48, 16],
      'mtp.fc.weight': [32, 64],
    },
  },
  {
    id: 'google/gemma-4-E2B-it',
    outer: { model_type: 'gemma4', architectures: ['Gemma4ForConditionalGeneration'] },
    layerTypes: ['sliding_attention', 'full_attention', 'full_attention'],
    shared: 1,
    towers: {
      'model.vision_tower.encoder.layers.0.self_attn.q_proj.linear.weight': [16, 16],
      'model.vision_tower.encoder.layers.0.self_attn.q_proj.input_max': [],
      'model.audio_tower.layers.0.self_attn.q_proj.linear.weight': [16, 16],
      'model.embed_vision.embedding_projection.weight': [24, 16],
    },
  },
  {
    id: 'google/gemma-3-4b-it',
    outer: { model_type: 'gemma3', architectures: ['Gemma3ForConditionalGeneration'] },
    layerTypes: ['sliding_attention', 'full_attention'],
    prefix: 'language_model.model.',
    towers: {
      'multi_modal_projector.mm_input_projection_weight': [16, 24],
      'vision_tower.vision_model.embeddings.patch_embedding.weight': [16, 3, 4, 4],
    },
  },
]

const random = randomStream(1, 'test', 'real shapes')
const noise = new Uint8Array(
  halfFromFloat32(
    Float32Array.from({ length: 65_521 }, () => 0.02 * random.normal()),
    'bfloat16',
  ).buffer,
)

/** Random values in bfloat16: all tensors repeat the same ones, which are quickly copied. */
function noiseOf(shape: readonly number[]): RawTensor {
  const bytes = new Uint8Array(2 * shape.reduce((product, size) => product * size, 1))
  for (let from = 0; from < bytes.length; from += noise.length) bytes.set(noise.subarray(0, bytes.length - from), from)
  return { dtype: 'BF16', shape: [...shape], bytes }
}

const filled = (shape: readonly number[], value: number, isFloat32: boolean): RawTensor => {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value)
  const stored = isFloat32 ? values : halfFromFloat32(values, 'bfloat16')
  return { dtype: isFloat32 ? 'F32' : 'BF16', shape: [...shape], bytes: new Uint8Array(stored.buffer) }
}

/** Writes the model in two shards, as large ones are published. */
function written({
  id,
  outer,
  layerTypes,
  shared,
  prefix = 'model.language_model.',
  float32,
  towers,
}: Published): Json {
  const sizes = { positions: 512, vocabulary: 512 }
  const text_config = {
    ...cutConfig(CHECKPOINTS[id]!, layerTypes.length, sizes),
    layer_types: layerTypes,
    ...(shared && { num_kv_shared_layers: shared }),
  }
  const json: Json = { ...outer, torch_dtype: 'bfloat16', eos_token_id: 1, vision_config: {}, text_config }
  const config = parseConfig(json, 'config.json')
  const norms = new Map(normsOf(config.network).map((norm) => [`${norm.name}.weight`, 1 - norm.weightOffset]))
  const own = [...weightShapes(config)].map(([name, shape]): [string, RawTensor] => [
    name.replace('model.language_model.', prefix),
    shape.length > 1 ? noiseOf(shape) : filled(shape, norms.get(name) ?? 1, float32?.test(name) ?? false),
  ])
  const others = Object.entries(towers).map(([name, shape]): [string, RawTensor] => [name, noiseOf(shape)])
  mkdirSync(at('model'))
  cpSync(smallTokenizerFolder, at('model'), { recursive: true })
  writeFileSync(at('model/config.json'), JSON.stringify(json))
  writeFileSync(at('model/processor_config.json'), '{}')
  const weight_map: Record<string, string> = {}
  const all = [...own, ...others]
  for (const [i, part] of [all.slice(0, 9), all.slice(9)].entries()) {
    const file = `model-0000${i + 1}-of-00002.safetensors`
    writeRawTensors(at(`model/${file}`), new Map(part))
    for (const [name] of part) weight_map[name] = file
  }
  writeFileSync(at('model/model.safetensors.index.json'), JSON.stringify({ weight_map }))
  return json
}

function tensorsOf(folder: string): Map<string, RawTensor> {
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  return new Map(files.flatMap((name) => [...readRawTensors(join(folder, name))]))
}

async function done(...argv: string[]) {
  const { exitCode, json, stderr } = await moraJson(...argv, '--device', 'cpu', '--threads', '2', '--quiet')
  expect(exitCode, stderr + JSON.stringify(json)).toBe(0)
  return json
}

test.each(drawn('real shapes', published, 1))('$id', async (one) => {
  const config = written(one)
  const rows = ['The boats are in the harbour.', 'The miller answered in the morning.']
  writeFileSync(at('rows.jsonl'), rows.map((text) => JSON.stringify({ text })).join('\n'))
  const model = ['--model', at('model')]
  const train = ['train', ...model, '--data', at('rows.jsonl'), '--max-steps', '2', '--learning-rate', '1e-2']
  await done(...train, '--method', 'mora', '--rank', '8', '--output', at('mora'))
  const merging = await done('merge', ...model, '--adapter', at('mora'), '--output', at('merged'))

  const [before, after] = [tensorsOf(at('model')), tensorsOf(at('merged'))]
  const layoutOf = (tensors: typeof before) =>
    Object.fromEntries([...tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape }]))
  expect(layoutOf(after)).toEqual(layoutOf(before))
  const changed = [...before].filter(([name, { bytes }]) => Buffer.compare(bytes, after.get(name)!.bytes) !== 0)
  expect(changed).toHaveLength(merging.merged)
  expect(changed.every(([name]) => /layers\.\d+\.|per_layer_model_projection/.test(name))).toBe(true)
  expect(changed.filter(([name]) => Object.hasOwn(one.towers, name))).toEqual([])
  expect(JSON.parse(readFileSync(at('merged/config.json'), 'utf8'))).toEqual(config)
  expect(readFileSync(at('merged/processor_config.json'), 'utf8')).toBe('{}')

  const perplexity = ['eval', '--data', at('rows.jsonl'), '--task', 'perplexity']
  const beside = await done(...perplexity, ...model, '--adapter', at('mora'))
  const merged = await done(...perplexity, '--model', at('merged'))
  expect(Math.abs(merged.loss / beside.loss - 1)).toBeLessThan(0.02)
  const generate = ['generate', '--raw', '--prompt', 'The boats', '--max-new-tokens', '4', '--temperature', '0']
  expect((await done(...generate, '--model', at('merged'))).text.length).toBeGreaterThan(0)

  await done(...train, '--method', 'lora', '--rank', '4', '--output', at('lora'))
  await done('export', ...model, '--adapter', at('lora'), '--format', 'peft', '--output', at('peft'))
  const exported = readRawTensors(at('peft/adapter_model.safetensors'))
  expect(exported.size).toBe(readRawTensors(at('lora/adapter_model.safetensors')).size)

  // GGUF has no name for the tests' tokenizer.
  for (const name of readdirSync(at('model'))) if (/token/.test(name)) rmSync(at(`model/${name}`))
  await done('export', ...model, '--adapter', at('mora'), '--format', 'gguf', '--output', at('merged.gguf'))
  writeFileSync(
    at('ids.jsonl'),
    JSON.stringify({ input_ids: Array.from({ length: 40 }, (_, i) => 3 + ((i * i) % 400)) }),
  )
  const [inFolder, inGguf] = [at('merged'), at('merged.gguf')].map((path) =>
    done('eval', '--data', at('ids.jsonl'), '--task', 'perplexity', '--model', path),
  )
  expect(Math.abs((await inGguf).loss / (await inFolder).loss - 1)).toBeLessThan(0.01)
})
