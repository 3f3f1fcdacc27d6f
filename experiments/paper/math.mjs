/** Word problems (the paper: MetaMathQA, measured by GSM8K and MATH): exact answers to held-back ones. */
import { fixed, percent } from './common/format.mjs'
import { QUESTION_TEMPLATE as template } from './common/templates.mjs'
import { fineTuning, REAL, SECTION_5_2, SMALL, TABLE_5 } from './contestants.mjs'
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
      contestants: fineTuning(SMALL, { loraPlusRatios: [2, 4], mergeEvery: [24], restartWarmupSteps: 4 }),
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
      contestants: fineTuning(REAL, { loraPlusRatios: [4], mergeEvery: [8], restartWarmupSteps: 2 }),
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
