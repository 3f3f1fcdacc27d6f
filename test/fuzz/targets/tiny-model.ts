/** The smallest model with everything that models have, as a folder and as GGUF files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { initModel } from '../../../lib/models/load-model.js'
import type { Model } from '../../../lib/models/model.js'
import { loadTokenizer } from '../../../lib/text/tokenizer.js'
import { batchOf } from '../../golden/tiny-models.js'
import { testDevice } from '../../operations/harness.js'
import type { Files } from '../cases.js'
import { byteLevel, configOf } from './tokenizers.js'

export const tinyConfig = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  hidden_size: 32,
  intermediate_size: 64,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  vocab_size: 512,
  bos_token_id: 0,
  eos_token_id: 1,
}

export const onDevice = { device: 'cpu', dtype: 'float32', threads: 1 } as const

/** Bytes in use on the device that all cases compute on. */
export const bytesInUse = (): number => testDevice().memory().inUse

/** Calls `make` with a fresh model, and returns the files that it writes into a folder. */
export async function filesOfModel(
  make: (model: Model, folder: string) => Promise<void>,
  { config = tinyConfig, tokenizer = byteLevel() }: { config?: object; tokenizer?: Record<string, unknown> } = {},
): Promise<Files> {
  const folder = mkdtempSync(join(tmpdir(), 'mora-tiny-'))
  const own = mkdtempSync(join(tmpdir(), 'mora-tiny-'))
  try {
    writeFileSync(join(own, 'config.json'), JSON.stringify(config))
    writeFileSync(join(own, 'tokenizer.json'), JSON.stringify(tokenizer))
    writeFileSync(join(own, 'tokenizer_config.json'), JSON.stringify(configOf(tokenizer)))
    using model = await initModel(join(own, 'config.json'), { ...onDevice, tokenizer: await loadTokenizer(own) })
    await make(model, folder)
    return filesIn(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
    rmSync(own, { recursive: true, force: true })
  }
}

/** Every file under a folder by its path there. */
export function filesIn(folder: string): Map<string, string | Uint8Array> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort()
  return new Map(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path)]))
}

/** One forward pass. Weights may be any numbers, so results need not be finite. */
export async function runModel(model: Model): Promise<void> {
  await model.tokenLogProbs(batchOf([{ input_ids: [1, 2, 3, 4, 5] }])).catch((error: { code?: string }) => {
    if (error.code !== 'non-finite') throw error
  })
}

export const bytesOf = (files: Files, name: string): Uint8Array => Buffer.from(files.get(name)!)
export const textOf = (files: Files, name: string): string => bytesOf(files, name).toString()
export const jsonOf = (files: Files, name: string): unknown => JSON.parse(textOf(files, name))
export const changed = (name: string, content: string | Uint8Array): Files => new Map([[name, content]])
