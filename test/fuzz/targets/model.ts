/** Models: their weights, configurations and tokenizers, loaded and run. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModel } from '../../../lib/models/load-model.js'
import { goldenPath } from '../../golden/files.js'
import type { Files, Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutatedJson } from '../mutate-json.js'
import { mutateText } from '../mutate-text.js'
import { choose, pick, type Random } from '../random.js'
import { mutateGguf } from './gguf-file.js'
import { mutateSafetensors, shards } from './safetensors-file.js'
import {
  bytesInUse,
  bytesOf,
  changed,
  filesOfModel,
  jsonOf,
  onDevice,
  runModel,
  textOf,
  tinyConfig,
} from './tiny-model.js'
import { byteLevel, configOf, sentencePiece, splitting, unigram, wordPiece } from './tokenizers.js'

/** Computes with a model, on text if it has a tokenizer. */
async function useModel(path: string): Promise<void> {
  using model = await loadModel(path, onDevice)
  await runModel(model)
  const { tokenizer } = model
  if (!tokenizer) return
  await tokenizer.decode(await tokenizer.encodeText('Hello, wörld!  12345\n'))
  await tokenizer.encodeContinuation(' and more')
  await tokenizer.decode([0, 1, 5, 1e9], { skipSpecialTokens: true })
  if (tokenizer.template) await tokenizer.renderChat([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true })
}

const useFolder = (folder: string): Promise<void> => useModel(join(folder, 'model'))

const inFolder = (config: object = tinyConfig, dtype: 'float32' | 'bfloat16' = 'float32'): Promise<Files> =>
  filesOfModel((model, folder) => model.save(join(folder, 'model'), { dtype }), { config })

export async function safetensorsTarget(): Promise<Target> {
  const name = 'model/model.safetensors'
  return {
    name: 'safetensors',
    samples: [await inFolder(), await inFolder({ ...tinyConfig, tie_word_embeddings: true }, 'bfloat16')],
    mutate: (random, files) => changed(name, mutateSafetensors(random, bytesOf(files, name))),
    use: useFolder,
    bytesInUse,
  }
}

/** Weights in two files that an index lists. */
export async function shardsTarget(): Promise<Target> {
  const whole = await inFolder()
  const parts = shards(bytesOf(whole, 'model/model.safetensors'))
  const files = new Map([...whole, ...[...parts].map(([name, content]) => [`model/${name}`, content] as const)])
  files.delete('model/model.safetensors')
  const index = 'model/model.safetensors.index.json'
  const mutate = (random: Random) => changed(index, mutatedJson(random, jsonOf(files, index)))
  return { name: 'shards', samples: [files], mutate, use: useFolder, bytesInUse }
}

export async function configTarget(): Promise<Target> {
  const scaled = (scaling: object) => ({
    ...tinyConfig,
    rope_scaling: { original_max_position_embeddings: 32, ...scaling },
  })
  const family = (model_type: string, more: object = {}) => ({ ...tinyConfig, model_type, ...more })
  const configs = [
    tinyConfig,
    scaled({ rope_type: 'yarn', factor: 2 }),
    scaled({ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 }),
    family('qwen2'),
    family('qwen3', { head_dim: 16 }),
    family('gemma3_text', { head_dim: 16, hidden_act: 'gelu_pytorch_tanh', sliding_window: 8 }),
    family('phi3', { sliding_window: 16 }),
    family('smollm3'),
    family('olmo2'),
    family('olmo3', { sliding_window: 8 }),
    family('granite', { embedding_multiplier: 12, residual_multiplier: 0.5, logits_scaling: 2 }),
    { model_type: 'gpt2', n_embd: 32, n_head: 2, n_layer: 1, n_positions: 64, vocab_size: 512, bos_token_id: 0 },
  ]
  const name = 'model/config.json'
  return {
    name: 'config',
    samples: await Promise.all(configs.map((config) => inFolder(config))),
    mutate: (random, files) => changed(name, mutatedJson(random, jsonOf(files, name))),
    use: useFolder,
    bytesInUse,
  }
}

export async function ggufTarget(): Promise<Target> {
  const save = (dtype: 'float32' | 'bfloat16' | 'q8_0', tokenizer: Record<string, unknown>) =>
    filesOfModel((model, folder) => model.save(join(folder, 'model.gguf'), { dtype }), { tokenizer })
  return {
    name: 'gguf',
    samples: [
      await save('float32', byteLevel()),
      await save('q8_0', byteLevel()),
      await save('bfloat16', sentencePiece()),
    ],
    mutate: (random, files) => changed('model.gguf', mutateGguf(random, bytesOf(files, 'model.gguf'))),
    use: (folder) => useModel(join(folder, 'model.gguf')),
    bytesInUse,
  }
}

/** A model in three GGUF files, one of which changes. */
export async function ggufPartsTarget(): Promise<Target> {
  const names = [1, 2, 3].map((part) => `tiny-F16-0000${part}-of-00003.gguf`)
  const files = new Map(names.map((name) => [name, readFileSync(goldenPath(`gguf-split/split/${name}`))]))
  return {
    name: 'gguf-parts',
    samples: [files],
    mutate(random, sample) {
      const name = pick(random, names)
      return changed(name, mutateGguf(random, bytesOf(sample, name)))
    },
    use: (folder) => useModel(join(folder, names[0]!)),
    alsoNamed: names,
    bytesInUse,
  }
}

const template = `{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

export async function tokenizerTarget(): Promise<Target> {
  const model = await inFolder()
  const [main, config] = ['model/tokenizer.json', 'model/tokenizer_config.json']
  const samples = [byteLevel(), splitting(), sentencePiece(), unigram(), wordPiece()].map((json) => {
    const beside = { ...configOf(json), chat_template: template }
    return new Map([...model, ...changed(main, JSON.stringify(json)), ...changed(config, JSON.stringify(beside))])
  })
  const mutate = (random: Random, files: Files): Files => {
    const name = choose(random, [
      [4, () => main],
      [1, () => config],
    ])
    const content = choose<string | Uint8Array>(random, [
      [6, () => mutatedJson(random, jsonOf(files, name))],
      [1, () => mutateText(random, textOf(files, name))],
      [0.3, () => mutateBytes(random, bytesOf(files, name))],
    ])
    return changed(name, content)
  }
  return { name: 'tokenizer', samples, mutate, use: useFolder, bytesInUse }
}
