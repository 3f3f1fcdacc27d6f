/** Pretraining from scratch (section 5.3): full, LoRA, MoRA, ReLoRA and ReMoRA. */
import { fixed } from './common/format.mjs'
import { pretraining, SECTION_5_3 } from './contestants.mjs'
import { c4Test, c4Train, heldTexts, newTexts, shakespeareTest, shakespeareTrain } from './sets.mjs'

const perplexity = (set, window, limit) => ({
  set,
  options: { task: 'perplexity', window },
  limit,
  measures: [{ name: 'perplexity, held-back text', value: 'perplexity', format: fixed(3), lowerIsBetter: true }],
})

/** A Llama's configuration: RMSNorm, SwiGLU, RoPE. The vocabulary is the tokenizer's. */
const llama = (hiddenSize, intermediateSize, layers, heads, keyValueHeads = heads) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: hiddenSize,
  intermediate_size: intermediateSize,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: keyValueHeads,
  max_position_embeddings: 1024,
  hidden_act: 'silu',
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  initializer_range: 0.02,
  tie_word_embeddings: false,
})

const { maxSteps, batchSize, maxLength, ...section } = SECTION_5_3

export default {
  title: 'Pretraining from scratch',
  claim:
    'Perplexity on C4 of 250M / 1.3B models: LoRA 33.40 / 28.56, MoRA 28.54 / 25.25, ReLoRA 32.19 / 27.80, ReMoRA 26.74 / 23.34.',
  /** Spectra of the learned change are kept, for `spectra`. */
  keepsSpectra: true,
  scales: {
    small: {
      init: { ...llama(160, 448, 4, 5), tie_word_embeddings: true, initializer_range: 0.05 },
      train: newTexts,
      training: { batchSize: 16, maxLength: 128, maxSteps: 90, warmupSteps: 8 },
      tasks: [perplexity(heldTexts, 128)],
      measureAt: [30, 60, 90],
      seeds: [1, 2, 3],
      contestants: pretraining({
        rank: 8,
        mergeEvery: 30,
        restartWarmupSteps: 4,
        fullRates: [1e-3, 2e-3, 4e-3, 8e-3],
        learningRates: [2e-3, 5e-3, 1e-2, 2e-2],
      }),
    },
    real: {
      init: { ...llama(576, 1536, 30, 9, 3), tie_word_embeddings: true },
      train: shakespeareTrain,
      training: { batchSize: 8, maxLength: 128, maxSteps: 32, warmupSteps: 4 },
      tasks: [perplexity(shakespeareTest, 128, 40)],
      measureAt: [16, 32],
      seeds: [1],
      contestants: pretraining({
        rank: 64,
        mergeEvery: 12,
        restartWarmupSteps: 2,
        fullRates: [2e-4, 5e-4, 1e-3],
        learningRates: [5e-4, 1e-3, 2e-3],
      }),
    },
    paper: {
      // The sizes of ReLoRA's configurations (arXiv 2307.05695), which section 5.3 follows.
      parts: { '250M': { init: llama(768, 2560, 24, 16) }, '1.3B': { init: llama(2048, 5461, 24, 32) } },
      train: c4Train,
      training: { batchSize, maxLength, maxSteps, warmupSteps: 500 },
      tasks: [perplexity(c4Test, maxLength)],
      measureAt: [2000, 4000, 6000, 8000],
      seeds: [1, 2, 3],
      contestants: pretraining(section),
    },
  },
}
