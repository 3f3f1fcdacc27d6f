/** MoRA's operators against each other at two ranks (the paper's table 4), on the word problems. */
import { mora } from './common/contestants.mjs'
import math from './math.mjs'

const OPERATORS = ['truncation', 'sharing', 'decoupling', 'rotation']
const field = (ranks) => ranks.flatMap(([rank, rates]) => OPERATORS.map((operator) => mora(operator)(rank, rates)))

export default {
  ...math,
  title: "Operators: the paper's table 4",
  claim:
    'GSM8K at r = 8 / r = 256: truncation 59.5 / 66.6, sharing 62.5 / 67.9, decoupling 63.6 / 67.8, rotation 64.2 / 67.9.',
  scales: {
    small: {
      ...math.scales.small,
      contestants: field([
        [2, [2e-3, 5e-3, 1e-2, 2e-2]],
        [16, [2e-3, 5e-3, 1e-2, 2e-2]],
      ]),
    },
    real: { ...math.scales.real, contestants: field([[8, [2e-4, 4e-4]]]) },
    paper: {
      ...math.scales.paper,
      contestants: field([
        [8, [1e-4, 2e-4, 3e-4, 4e-4]],
        [256, [3e-5, 5e-5, 1e-4, 2e-4]],
      ]),
    },
  },
}
