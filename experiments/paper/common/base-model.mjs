/** The checkpoint of scale `small`: a Llama of 1.4 M parameters that is pretrained on the small language when first needed. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { initModel, loadTokenizer } from 'node-mora'
import { pretrain, writeSmallLlama } from '../../../scripts/small-llama.mjs'
import { baseTexts } from '../tasks/language.mjs'

const SEED = 20240521
const CHAT =
  "{% for message in messages %}{{ '<' + message.role + '>' + message.content }}{% if message.role == 'assistant' %}" +
  "{{ '<end>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"

/** A folder with configuration and tokenizer alone, to train from scratch. */
export async function emptyModel(folder) {
  await mkdir(folder, { recursive: true })
  const sizes = { hiddenSize: 160, intermediateSize: 448, heads: 5, maxLength: 512 }
  writeSmallLlama(folder, { ...sizes, special: ['<user>', '<assistant>'], chatTemplate: CHAT })
  return folder
}

/** Writes the configuration of a model that is trained from scratch, with the vocabulary of a tokenizer; returns its path. */
export async function writeConfig(path, init, tokenizer) {
  const { vocabularySize, bosId = null, eosId = null } = tokenizer
  await writeFile(
    path,
    JSON.stringify({ ...init, vocab_size: vocabularySize, bos_token_id: bosId, eos_token_id: eosId }),
  )
  return path
}

/** Returns the folder of a checkpoint with random weights. */
export async function untrainedModel(folder) {
  await mkdir(folder, { recursive: true })
  const sizes = { hiddenSize: 32, intermediateSize: 64, heads: 2, maxLength: 4096 }
  writeSmallLlama(folder, { ...sizes, special: ['<user>', '<assistant>'], chatTemplate: CHAT })
  const tokenizer = await loadTokenizer(folder)
  const model = await initModel(join(folder, 'config.json'), { device: 'cpu', dtype: 'float32', seed: SEED, tokenizer })
  await model.save(folder, { dtype: 'float32', overwrite: true })
  model.dispose()
  return folder
}

/** Returns the folder of the checkpoint; reports the progress of its training to `say`. */
export async function baseModel(folder, say) {
  if (existsSync(join(folder, 'model.safetensors'))) return folder
  const unfinished = `${folder}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  await emptyModel(unfinished)
  const tokenizer = await loadTokenizer(unfinished)
  const model = await initModel(join(unfinished, 'config.json'), {
    device: 'cpu',
    dtype: 'float32',
    seed: SEED,
    tokenizer,
  })
  await pretrain(model, baseTexts(SEED), 800, (line) => say(`base model: ${line}`))
  await model.save(unfinished, { dtype: 'float32', overwrite: true })
  model.dispose()
  await rename(unfinished, folder)
  return folder
}
