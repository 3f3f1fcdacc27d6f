/** Instruction tuning: conversations, judged by multiple-choice questions (the paper: Tulu v2 and MMLU). */
import { fixed, percent } from './common/format.mjs'
import { QUESTION_TEMPLATE as template } from './common/templates.mjs'
import { fineTuning, REAL, SECTION_5_2, SMALL, TABLE_5 } from './contestants.mjs'
import * as sets from './sets.mjs'

const questions = (name, set, solved, options) => (shots) => ({
  set,
  ...(shots > 0 && { shots: solved }),
  options: { ...options, ...(shots > 0 && { shots }) },
  measures: [{ name: `${name}, ${shots} shots, %`, value: 'accuracy', format: percent }],
})
const mmlu = questions('MMLU', sets.mmluTest, sets.mmluDev, { task: 'mmlu' })
const choices = questions('right choices', sets.questions, sets.solvedQuestions, { task: 'choices', score: 'text' })
const loss = {
  set: sets.newConversations,
  options: { task: 'perplexity' },
  measures: [
    { name: 'loss per target token, held-back conversations', value: 'loss', format: fixed(4), lowerIsBetter: true },
  ],
}

export default {
  title: 'Instruction tuning',
  claim:
    'MMLU 0-shot and 5-shot after Tulu v2, 7B: all methods within about a point and a half of each other; MoRA is level with LoRA.',
  scales: {
    small: {
      train: sets.conversations,
      training: { batchSize: 48, maxSteps: 60, warmupSteps: 5 },
      tasks: [loss, { ...choices(0), limit: 80 }, { ...choices(2), limit: 80 }],
      measureAt: [30, 60],
      seeds: [1, 2, 3],
      contestants: fineTuning(SMALL, { loraPlusRatios: [2, 4], mergeEvery: [30], restartWarmupSteps: 4 }),
    },
    real: {
      train: sets.alpaca,
      training: { batchSize: 4, maxSteps: 16, maxLength: 512, warmupSteps: 2 },
      tasks: [
        { ...mmlu(0), limit: 60 },
        { ...mmlu(5), limit: 16 },
      ],
      measureAt: [],
      seeds: [1],
      contestants: fineTuning(REAL, { loraPlusRatios: [4], mergeEvery: [8], restartWarmupSteps: 2 }),
    },
    paper: {
      train: sets.tulu,
      training: { ...TABLE_5['Tulu v2'].training, template },
      tasks: [mmlu(0), mmlu(5)],
      measureAt: [],
      seeds: [1, 2, 3],
      contestants: fineTuning(TABLE_5['Tulu v2'], SECTION_5_2),
    },
  },
}
