/** Small Llamas of single characters, trained from scratch: the demo's checkpoint and that of the paper's experiments. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdamW, DataLoader, schedule } from 'node-mora'

const STEPS_BETWEEN_LINES = 50
const BATCH_SIZE = 64

/**
 * Writes the configuration and the tokenizer of a model into a folder.
 * @param {string} folder
 * @param {{ hiddenSize: number, intermediateSize: number, heads: number, maxLength: number, special?: string[], chatTemplate?: string }} what
 */
export function writeSmallLlama(folder, { hiddenSize, intermediateSize, heads, ...ofTokenizer }) {
  const { tokenizer, settings, size } = characterTokenizer(ofTokenizer)
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: size,
    hidden_size: hiddenSize,
    intermediate_size: intermediateSize,
    num_hidden_layers: 4,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    max_position_embeddings: ofTokenizer.maxLength,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    initializer_range: 0.05,
    tie_word_embeddings: true,
    bos_token_id: null,
    eos_token_id: 0,
  }
  const write = (name, content) => writeFileSync(join(folder, name), `${JSON.stringify(content, null, 1)}\n`)
  write('tokenizer.json', tokenizer)
  write('tokenizer_config.json', settings)
  write('config.json', config)
}

/** Trains all of a model on rows for some steps, and reports its progress to `say`. */
export async function pretrain(model, rows, steps, say) {
  model.trainAll()
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const optimizer = new AdamW(parameters, { beta2: 0.98, weightDecay: 0.01 })
  const rate = schedule({ learningRate: 2e-3, totalSteps: steps, warmupSteps: 50, minLearningRateRatio: 0.05 })
  let step = 0
  for await (const batch of new DataLoader(rows, { batchSize: BATCH_SIZE, tokenizer: model.tokenizer })) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    optimizer.step({ learningRate: rate(step), scaleGradients: 1 / targetTokens, maxGradNorm: 1 }).dispose()
    step++
    if (step % STEPS_BETWEEN_LINES === 0)
      say(`step ${step}/${steps}, loss ${((await loss.item()) / targetTokens).toFixed(3)}`)
    loss.dispose()
    if (step === steps) break
  }
  optimizer.dispose()
}

/**
 * Returns the files of a small tokenizer as objects: each character is a token, and so is each pair of hexadecimal digits (a
 * uuid has 20 tokens). `special` adds special tokens, `chatTemplate` a template.
 * @param {{ maxLength: number, special?: string[], chatTemplate?: string }} what
 */
function characterTokenizer({ maxLength, special: added = [], chatTemplate }) {
  const digits = [...'0123456789abcdef']
  const pairs = digits.flatMap((first) => digits.map((second) => [first, second]))
  const printable = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i))
  const special = ['<end>', '<unknown>', ...added]
  const vocabulary = [...special, '\n', ...printable, ...pairs.map((pair) => pair.join(''))]
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    // Pairs are cut from left to right, so that the same uuid always has the same tokens.
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[0-9a-f]{2}' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unknown>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges: pairs.map((pair) => pair.join(' ')),
    },
  }
  const settings = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: maxLength,
    add_bos_token: false,
    eos_token: '<end>',
    pad_token: '<end>',
    unk_token: '<unknown>',
    ...(chatTemplate && { chat_template: chatTemplate }),
  }
  return { tokenizer, settings, size: vocabulary.length }
}
