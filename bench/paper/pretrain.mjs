/** Pretraining from scratch (section 5.3): full, LoRA, MoRA, ReLoRA and ReMoRA; embeddings, norms and head are always trained. */
import { evaluate } from 'node-mora'
import { full } from './common/contestants.mjs'

const whole = { modulesToSave: ['embeddings', 'norms', 'head'] }

const field = (rank, rates, restarts) => {
  const one = (name, options) => ({
    name: `${name}, r = ${rank}`,
    options: { rank, ...whole, ...options },
    learningRates: rates.adapter,
  })
  const again = { ...restarts, scheduler: 'cosine-restarts', minLearningRateRatio: 0.1 }
  return [
    full(rates.full),
    one('LoRA', { method: 'lora' }),
    one('MoRA', { method: 'mora', operator: 'sharing' }),
    one('ReLoRA', { method: 'lora', ...again }),
    one('ReMoRA', { method: 'mora', cycle: ['sharing', 'sharing-grouped'], ...again }),
    one('ReMoRA permute', { method: 'mora', operator: 'sharing', regroup: 'permute', ...again }),
  ]
}

export default {
  title: 'Pretraining from scratch',
  claim:
    'Perplexity on C4 of 250M / 1.3B models: LoRA 33.40 / 28.56, MoRA 28.54 / 25.25, ReLoRA 32.19 / 27.80, ReMoRA 26.74 / 23.34.',
  metrics: [{ key: 'perplexity', label: 'perplexity, held-back play', format: (value) => value.toFixed(3) }],
  score: ({ points }) => -points.at(-1).perplexity,
  data: 'shakespeare',
  scales: {
    small: {
      fromScratch: true,
      training: { batchSize: 16, maxLength: 128, maxSteps: 90, warmupSteps: 8 },
      asked: 60,
      measureAt: [30, 60, 90],
      seeds: [1, 2, 3],
      contestants: field(
        8,
        { full: [1e-3, 2e-3, 4e-3, 8e-3], adapter: [2e-3, 5e-3, 1e-2, 2e-2] },
        { mergeEvery: 30, restartWarmupSteps: 4 },
      ),
    },
    real: {
      fromScratch: true,
      training: { batchSize: 16, maxLength: 256, maxSteps: 400, warmupSteps: 20 },
      asked: 40,
      measureAt: [100, 200, 300, 400],
      seeds: [1],
      contestants: field(
        64,
        { full: [5e-4, 1e-3], adapter: [1e-3, 2e-3] },
        { mergeEvery: 100, restartWarmupSteps: 10 },
      ),
    },
    paper: {
      fromScratch: true,
      training: { batchSize: 1024, maxLength: 512, maxSteps: 10_000, warmupSteps: 500 },
      asked: undefined,
      measureAt: [2000, 4000, 6000, 8000, 10_000],
      seeds: [1, 2, 3],
      contestants: field(
        128,
        { full: [2e-4, 5e-4, 1e-3, 2e-3], adapter: [2e-4, 5e-4, 1e-3, 2e-3] },
        { mergeEvery: 2000, restartWarmupSteps: 50 },
      ),
    },
  },
  rows: () => ({}),

  async measure(model, { files }, { asked, training: { maxLength } }) {
    const { perplexity } = await evaluate(model, {
      task: 'perplexity',
      data: [files.test],
      window: maxLength,
      limit: asked,
    })
    return { perplexity }
  },
}
