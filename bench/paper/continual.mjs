/** Continual pretraining on another domain, and forgetting of the first (the paper: biomedicine and finance). */
import { evaluate } from 'node-mora'
import { dora, full, lora, rotation, sharing } from './common/contestants.mjs'
import { baseTexts } from './tasks/language.mjs'
import { take } from './tasks/take.mjs'

const field = (low, high, rates) => [
  full(rates.full),
  lora(low, rates.adapter),
  dora(low, rates.adapter),
  rotation(low, rates.adapter),
  lora(high, rates.high ?? rates.adapter),
  sharing(high, rates.high ?? rates.adapter),
]

export default {
  title: 'Continual pretraining: Shakespeare',
  claim:
    'MoRA r = 256 is better than LoRA in both domains of the paper (biomedicine and finance), close to full fine-tuning.',
  metrics: [
    { key: 'perplexity', label: 'perplexity, held-back play', format: (value) => value.toFixed(3) },
    { key: 'base', label: 'perplexity, base domain', format: (value) => value.toFixed(3) },
  ],
  score: ({ points }) => -points.at(-1).perplexity,
  scales: {
    small: {
      training: { batchSize: 16, maxLength: 128, maxSteps: 60, warmupSteps: 5 },
      asked: 60,
      measureAt: [20, 40, 60],
      seeds: [1, 2, 3],
      contestants: field(2, 16, { full: [5e-4, 1e-3, 2e-3, 4e-3], adapter: [2e-3, 5e-3, 1e-2, 2e-2] }),
    },
    real: {
      training: { batchSize: 8, maxLength: 256, maxSteps: 150, warmupSteps: 5 },
      asked: 40,
      measureAt: [75, 150],
      seeds: [1],
      contestants: field(8, 128, { full: [2e-5, 5e-5], adapter: [2e-4, 4e-4] }),
    },
    paper: {
      training: { batchSize: 128, maxLength: 4096, epochs: 3, warmupRatio: 0.03 },
      asked: undefined,
      measureAt: [],
      seeds: [1, 2, 3],
      contestants: field(8, 256, {
        full: [1e-5, 3e-5, 5e-5, 1e-4],
        adapter: [2e-4, 3e-4, 4e-4, 5e-4],
        high: [3e-5, 5e-5, 7e-5, 1e-4],
      }),
    },
  },
  data: 'shakespeare',
  rows: () => ({ base: take(baseTexts(50), 200) }),

  async measure(model, { files }, { asked, training: { maxLength } }) {
    const { perplexity } = await evaluate(model, {
      task: 'perplexity',
      data: [files.test],
      window: maxLength,
      limit: asked,
    })
    const { perplexity: base } = await evaluate(model, { task: 'perplexity', data: [files.base], limit: asked })
    return { perplexity, base }
  },
}
