/** Facts that nothing but memory can tell (sections 3 and 5.1 of the paper): `uuid:uuid`, trained on all tokens. */

import { percent } from './common/format.mjs'
import { memorising, SECTION_3 } from './contestants.mjs'
import { pairs } from './sets.mjs'

/** Asks for the pairs that the run trains. */
const tasks = (limit) => [
  {
    options: { task: 'recall', template: 'none' },
    limit,
    measures: [
      { name: 'characters recalled, %', value: 'characterAccuracy', format: percent },
      { name: 'facts recalled, %', value: 'exactAccuracy', format: percent },
    ],
  },
]
const training = { trainOn: 'all', scheduler: 'constant', template: 'none' }

export default {
  title: 'Memory: UUID pairs',
  claim:
    'LoRA r = 8 hardly remembers (54 % of the characters after 900 steps), MoRA r = 8 nearly all (100 %); LoRA and MoRA ' +
    'r = 256 reach 100 % after 700 and 500 steps, full fine-tuning after 500.',
  scales: {
    small: {
      train: pairs(64),
      training: { ...training, batchSize: 64, maxSteps: 50 },
      tasks: tasks(32),
      measureAt: [10, 20, 30, 40, 50],
      judgedBy: 'mean of points',
      seeds: [1, 2, 3],
      contestants: memorising({
        full: [1e-3, 2e-3, 4e-3, 8e-3],
        loraRanks: [1, 2, 4, 8, 16],
        moraRanks: [1, 16],
        lora: [5e-3, 1e-2, 2e-2, 4e-2],
        mora: [5e-3, 1e-2, 2e-2, 4e-2],
      }),
    },
    real: {
      train: pairs(16),
      training: { ...training, batchSize: 16, maxSteps: 32 },
      tasks: tasks(16),
      measureAt: [8, 16, 24, 32],
      judgedBy: 'mean of points',
      seeds: [1],
      contestants: memorising({
        full: [5e-5, 1e-4, 2e-4],
        loraRanks: [8, 128],
        moraRanks: [8, 128],
        lora: [5e-4, 1e-3, 3e-3],
        mora: [5e-4, 1e-3, 3e-3],
      }),
    },
    paper: {
      train: pairs(SECTION_3.pairs),
      training: { ...training, batchSize: SECTION_3.batchSize, epochs: SECTION_3.epochs },
      tasks: tasks(1000),
      measureAt: [300, 500, 700, 900],
      judgedBy: 'mean of points',
      seeds: [1, 2, 3],
      contestants: memorising(SECTION_3),
    },
  },
}
