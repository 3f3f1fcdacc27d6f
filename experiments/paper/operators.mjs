/** MoRA's operators against each other at two ranks (the paper's table 4), on the word problems. */
import { operators, TABLE_5 } from './contestants.mjs'
import math from './math.mjs'

const { small, real, paper } = math.scales

export default {
  title: "Operators: the paper's table 4",
  claim:
    'GSM8K at r = 8 / r = 256: truncation 59.5 / 66.6, sharing 62.5 / 67.9, decoupling 63.6 / 67.8, rotation 64.2 / 67.9.',
  scales: {
    small: {
      ...small,
      contestants: operators({
        low: { rank: 2, mora: [2e-3, 5e-3, 1e-2, 2e-2] },
        high: { rank: 16, mora: [2e-3, 5e-3, 1e-2, 2e-2] },
      }),
    },
    real: {
      ...real,
      contestants: operators({
        low: { rank: 8, mora: [2e-4, 5e-4, 1e-3] },
        high: { rank: 128, mora: [5e-5, 1e-4, 2e-4] },
      }),
    },
    paper: { ...paper, tasks: paper.tasks.slice(0, 1), contestants: operators(TABLE_5.MetaMathQA) },
  },
}
