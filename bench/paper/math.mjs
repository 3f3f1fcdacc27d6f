/** Word problems (the paper's mathematics: MetaMathQA, measured by GSM8K): exact answers to held-back ones. */
import { evaluate } from 'node-mora'
import { fineTuning } from './common/contestants.mjs'
import { mathRows } from './tasks/math.mjs'

const percent = (value) => (100 * value).toFixed(1)

export default {
  title: 'Mathematics: word problems',
  claim:
    'GSM8K after MetaMathQA, 7B: MoRA rotation r = 8 64.2 %, MoRA r = 256 67.9 %; MoRA is level with LoRA at r = 8 and ahead at r = 256.',
  metrics: [
    { key: 'loss', label: 'loss per target token, held back', format: (value) => value.toFixed(4) },
    { key: 'accuracy', label: 'exact answers, %', format: percent },
  ],
  score: ({ points }) => -points.at(-1).loss,
  scales: {
    small: {
      training: { batchSize: 24, maxSteps: 48, template: 'none', warmupSteps: 4 },
      asked: 40,
      measureAt: [24, 48],
      seeds: [1, 2, 3],
      contestants: fineTuning(2, 16, {
        full: [5e-4, 1e-3, 2e-3, 4e-3],
        adapter: [2e-3, 5e-3, 1e-2, 2e-2],
        plus: [5e-4, 1e-3, 2e-3, 5e-3],
      }),
    },
    real: {
      training: { batchSize: 8, maxSteps: 150, warmupSteps: 5 },
      data: 'gsm-symbolic',
      asked: 50,
      measureAt: [75, 150],
      seeds: [1],
      contestants: fineTuning(8, 128, { full: [2e-5, 5e-5], adapter: [2e-4, 4e-4] }),
    },
    paper: {
      training: { batchSize: 128, epochs: 3, warmupRatio: 0.03 },
      data: 'given',
      asked: 1319,
      measureAt: [],
      seeds: [1, 2, 3],
      contestants: fineTuning(8, 256, {
        full: [1e-5, 2e-5, 3e-5, 5e-5],
        adapter: [1e-4, 2e-4, 3e-4, 4e-4],
        plus: [5e-5, 1e-4, 2e-4, 4e-4],
        high: [3e-5, 5e-5, 1e-4, 2e-4],
      }),
    },
  },
  rows: () => ({ train: mathRows(4000, 30), test: mathRows(200, 31) }),

  async measure(model, { files }, { asked, training: { template } }) {
    const { loss } = await evaluate(model, { task: 'perplexity', data: [files.test], template })
    const { accuracy } = await evaluate(model, {
      task: 'exact-match',
      data: [files.test],
      limit: asked,
      maxNewTokens: 64,
      template,
    })
    return { loss, accuracy }
  },
}
