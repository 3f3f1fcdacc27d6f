/** Facts that nothing but memory can tell (section 4 and figure 2 of the paper): `uuid:uuid`, trained on all tokens. */
import { evaluate } from 'node-mora'
import { randomFacts } from '../common/internals.mjs'
import { changeOfWeights, linearWeights } from './common/change-of-weights.mjs'
import { full, lora, rotation, sharing } from './common/contestants.mjs'

const percent = (value) => (100 * value).toFixed(1)

const contestants = (low, high, rates) => [
  full(rates.full),
  lora(low, rates.adapter),
  rotation(low, rates.adapter),
  lora(high, rates.high ?? rates.adapter),
  sharing(high, rates.high ?? rates.adapter),
]

export default {
  title: 'Memory: UUID pairs',
  claim:
    'LoRA r = 8 hardly remembers (54 % of the characters after 900 steps), MoRA r = 8 nearly all (100 %); LoRA and MoRA ' +
    'r = 256 reach 100 % after 700 and 500 steps, full fine-tuning after 500.',
  metrics: [
    { key: 'characterAccuracy', label: 'characters recalled, %', format: percent },
    { key: 'exactAccuracy', label: 'facts recalled, %', format: percent },
  ],
  score: ({ points }) => points.reduce((sum, { characterAccuracy }) => sum + characterAccuracy, 0) / points.length,
  scales: {
    small: {
      facts: 64,
      asked: 32,
      training: { batchSize: 64, maxSteps: 50, trainOn: 'all', scheduler: 'constant', template: 'none' },
      measureAt: [10, 20, 30, 40, 50],
      seeds: [1, 2, 3],
      contestants: contestants(1, 16, { full: [1e-3, 2e-3, 4e-3, 8e-3], adapter: [5e-3, 1e-2, 2e-2, 4e-2] }),
    },
    real: {
      facts: 64,
      asked: 16,
      training: { batchSize: 32, maxSteps: 48, trainOn: 'all', scheduler: 'constant', template: 'none' },
      measureAt: [12, 24, 36, 48],
      seeds: [1],
      contestants: contestants(8, 128, {
        full: [1e-4],
        adapter: [1e-3, 3e-3],
        high: [5e-4],
      }),
    },
    paper: {
      facts: 10_000,
      asked: 1000,
      training: { batchSize: 1000, maxSteps: 1000, trainOn: 'all', template: 'none' },
      measureAt: [100, 300, 500, 700, 900, 1000],
      seeds: [1, 2, 3],
      contestants: contestants(8, 256, {
        full: [1e-5, 3e-5, 5e-5, 1e-4],
        adapter: [5e-5, 1e-4, 2e-4, 3e-4],
        high: [5e-5, 1e-4, 2e-4, 3e-4],
      }),
    },
  },
  /** Other facts for each seed. */
  rows: ({ facts }, seed) => ({ train: randomFacts(facts, 20 + seed) }),

  measure: async (model, { files }, { asked }) =>
    evaluate(model, { task: 'recall', data: [files.train], limit: asked, template: 'none' }),

  before: linearWeights,
  afterwards: changeOfWeights,
}
