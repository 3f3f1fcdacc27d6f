/** The checkpoint of scale `small`: a Llama of 1.4 M parameters that is pretrained on the small language when first needed. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AdamW, DataLoader, initModel, loadTokenizer, schedule } from 'node-mora'
import { characterTokenizer } from '../../../scripts/character-tokenizer.mjs'
import { baseTexts } from '../tasks/language.mjs'

const SEED = 20240521
const STEPS = 800
const BATCH_SIZE = 64
const CHAT =
  "{% for message in messages %}{{ '<' + message.role + '>' + message.content }}{% if message.role == 'assistant' %}" +
  "{{ '<end>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"

const config = (vocabularySize) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: vocabularySize,
  hidden_size: 160,
  intermediate_size: 448,
  num_hidden_layers: 4,
  num_attention_heads: 5,
  num_key_value_heads: 5,
  max_position_embeddings: 512,
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  initializer_range: 0.05,
  tie_word_embeddings: true,
  bos_token_id: null,
  eos_token_id: 0,
})

/** A folder with configuration and tokenizer alone, to train from scratch. */
export async function emptyModel(folder) {
  const { tokenizer, settings, size } = characterTokenizer({
    maxLength: 512,
    special: ['<user>', '<assistant>'],
    chatTemplate: CHAT,
  })
  await mkdir(folder, { recursive: true })
  const write = (name, content) => writeFile(join(folder, name), `${JSON.stringify(content, null, 1)}\n`)
  await Promise.all([
    write('tokenizer.json', tokenizer),
    write('tokenizer_config.json', settings),
    write('config.json', config(size)),
  ])
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
  model.trainAll()
  const optimizer = new AdamW(
    model.trainableParameters().map(({ parameter }) => parameter),
    { beta2: 0.98, weightDecay: 0.01 },
  )
  const rate = schedule({ learningRate: 2e-3, totalSteps: STEPS, warmupSteps: 50, minLearningRateRatio: 0.05 })
  let step = 0
  for await (const batch of new DataLoader(baseTexts(SEED), { batchSize: BATCH_SIZE, tokenizer })) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    optimizer.step({ learningRate: rate(step), scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
    step++
    if (step % 50 === 0)
      say(`base model: step ${step}/${STEPS}, loss ${((await loss.item()) / targetTokens).toFixed(3)}`)
    loss.dispose()
    if (step === STEPS) break
  }
  optimizer.dispose()
  await model.save(unfinished, { dtype: 'float32' })
  model.dispose()
  await rename(unfinished, folder)
  return folder
}
