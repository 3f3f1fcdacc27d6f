/** Instruction tuning: conversations, judged by multiple-choice questions that were held back (the paper: Tulu v2 and MMLU). */
import { evaluate } from 'node-mora'
import { fineTuning } from './common/contestants.mjs'
import { chatRows, choiceRows } from './tasks/instruct.mjs'

const percent = (value) => (100 * value).toFixed(1)

export default {
  title: 'Instruction tuning: conversations about words',
  claim:
    'MMLU 0-shot and 5-shot after Tulu v2, 7B: all methods within about a point and a half of each other; MoRA is level with LoRA.',
  metrics: [
    { key: 'zeroShot', label: 'right choices, zero-shot, %', format: percent },
    { key: 'fewShot', label: 'right choices, few-shot, %', format: percent },
    { key: 'loss', label: 'loss per target token, held-back conversations', format: (value) => value.toFixed(4) },
  ],
  score: ({ points }) => -points.at(-1).loss,
  scales: {
    small: {
      training: { batchSize: 48, maxSteps: 60, warmupSteps: 5 },
      asked: 80,
      shots: 2,
      score: 'text',
      measureAt: [30, 60],
      seeds: [1, 2, 3],
      contestants: fineTuning(2, 16, {
        full: [5e-4, 1e-3, 2e-3, 4e-3],
        adapter: [2e-3, 5e-3, 1e-2, 2e-2],
        plus: [5e-4, 1e-3, 2e-3, 5e-3],
      }),
    },
    real: {
      training: { batchSize: 16, maxSteps: 150, warmupSteps: 5 },
      data: 'choices',
      asked: 150,
      shots: 3,
      measureAt: [150],
      seeds: [1],
      contestants: fineTuning(8, 128, { full: [2e-5, 5e-5], adapter: [2e-4, 4e-4] }),
    },
    paper: {
      training: { batchSize: 128, epochs: 2, warmupRatio: 0.03 },
      data: 'given',
      asked: undefined,
      shots: 5,
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
  rows: () => ({
    train: chatRows(8000, 40),
    held: chatRows(200, 41),
    test: choiceRows(400, 42),
    shots: choiceRows(200, 43),
  }),

  async measure(model, { files }, { asked, shots, score }) {
    const { loss } = await evaluate(model, { task: 'perplexity', data: [files.held] })
    const choices = { task: /** @type {const} */ ('choices'), data: [files.test], limit: asked, score }
    const zero = await evaluate(model, choices)
    const few = await evaluate(model, { ...choices, shots, shotsData: [files.shots] })
    return { zeroShot: zero.accuracy, fewShot: few.accuracy, loss }
  },
}
