/** Spectra of the learned change (section 6.2 of the paper): singular values of ΔW of the runs of `memory`. */
import { lineChart } from '../common/internals.mjs'
import { THRESHOLD } from './common/change-of-weights.mjs'
import memory from './memory.mjs'

export default {
  ...memory,
  runsOf: 'memory',
  title: 'Spectra: singular values of ΔW after the memory task',
  claim:
    'MoRA and ReMoRA have many more singular values above 0.1 than LoRA and ReLoRA: updates of high rank, as those of full training.',
  metrics: [
    { key: 'effectiveRank', label: 'effective rank, mean of layers', format: (value) => value.toFixed(1) },
    { key: 'above', label: `singular values above ${THRESHOLD}, mean of layers`, format: (value) => value.toFixed(1) },
    { key: 'spectralNorm', label: 'largest singular value, mean of layers', format: (value) => value.toFixed(2) },
    memory.metrics[0],
  ],

  /** Mean spectra of the first seed's runs at the best learning rates. */
  chart(results) {
    const series = results.flatMap(({ contestant, repeated: [cell] }) =>
      cell?.result.spectrum
        ? [{ name: contestant.name, points: cell.result.spectrum.map((y, i) => ({ x: i + 1, y })) }]
        : [],
    )
    return lineChart({
      title: 'ΔW after the memory task',
      xLabel: 'singular value, from the largest',
      yLabel: 'mean over layers',
      series,
      logarithmic: true,
    })
  },
}
