/** Word problems (the paper: MetaMathQA, measured by GSM8K and MATH): exact answers to held-back ones. */
import { fixed, percent } from './common/format.mjs'
import { QUESTION_TEMPLATE as template } from './common/templates.mjs'
import { fineTuning, SECTION_5_2, TABLE_5 } from './contestants.mjs'
import { gsm8kTest, gsm8kTrain, mathTest, metaMath, newWordProblems, wordProblems } from './sets.mjs'

const loss = (set, options) => ({
  set,
  options: { task: 'perplexity', ...options },
  measures: [{ name: 'loss per target token, held back', value: 'loss', format: fixed(4), lowerIsBetter: true }],
})
const exact = (task, name, set, options) => ({
  set,
  options: { task, ...options },
  measures: [{ name, value: 'accuracy', format: percent }],
})
const gsm8k = (options) => exact('gsm8k', 'GSM8K, %', gsm8kTest, { maxNewTokens: 512, ...options })
const hendrycksMath = (options) => exact('math', 'MATH, %', mathTest, { maxNewTokens: 512, ...options })

export default {
  title: 'Mathematics: word problems',
  claim:
    'GSM8K and MATH after MetaMathQA, 7B: full fine-tuning 66.6 / 20.1 %; r = 8: LoRA 64.6 / 15.1, MoRA 64.2 / 15.4; r = 256: ' +
    'LoRA 67.9 / 19.9, MoRA 67.9 / 19.2.',
  scales: {
    small: {
      train: wordProblems,
      training: { batchSize: 24, maxSteps: 48, template: 'none', warmupSteps: 4 },
      tasks: [
        loss(newWordProblems, { template: 'none' }),
        {
          ...exact('exact-match', 'exact answers, %', newWordProblems, { template: 'none', maxNewTokens: 64 }),
          limit: 40,
        },
      ],
      measureAt: [24, 48],
      seeds: [1, 2, 3],
      contestants: fineTuning(
        {
          full: [5e-4, 1e-3, 2e-3, 4e-3],
          low: { rank: 2, alpha: 4, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [2e-3, 5e-3, 1e-2, 2e-2] },
          high: { rank: 16, alpha: 8, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [1e-3, 2e-3, 5e-3, 1e-2] },
        },
        { loraPlusRatios: [2, 4], mergeEvery: [24], restartWarmupSteps: 4 },
      ),
    },
    real: {
      train: gsm8kTrain,
      training: { batchSize: 2, maxSteps: 16, maxLength: 512, warmupSteps: 2 },
      tasks: [
        { ...loss(gsm8kTest), limit: 40 },
        { ...gsm8k(), limit: 5 },
      ],
      measureAt: [],
      seeds: [1],
      contestants: fineTuning(
        {
          full: [1e-5, 2e-5, 5e-5],
          low: { rank: 8, alpha: 16, lora: [2e-4, 5e-4, 1e-3], mora: [2e-4, 5e-4, 1e-3] },
          high: { rank: 128, alpha: 64, lora: [2e-4, 5e-4, 1e-3], mora: [5e-5, 1e-4, 2e-4] },
        },
        { loraPlusRatios: [4], mergeEvery: [8], restartWarmupSteps: 2 },
      ),
    },
    paper: {
      train: metaMath,
      training: { ...TABLE_5.MetaMathQA.training, template },
      tasks: [gsm8k({ template }), hendrycksMath({ template })],
      measureAt: [],
      seeds: [1, 2, 3],
      contestants: fineTuning(TABLE_5.MetaMathQA, SECTION_5_2),
    },
  },
}
