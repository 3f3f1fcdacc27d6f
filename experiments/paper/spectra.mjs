/** Spectra of the learned change (figure 5 of the paper): singular values of ΔW of the runs of `pretrain`, by kind of layer. */
import { fixed } from './common/format.mjs'
import { THRESHOLD } from './common/spectra.mjs'
import pretrain from './pretrain.mjs'

const KINDS = ['q', 'k', 'v', 'o', 'up', 'down', 'gate']

export default {
  ...pretrain,
  runsOf: 'pretrain',
  title: `Spectra: singular values of ΔW above ${THRESHOLD} after pretraining`,
  claim:
    'MoRA and ReMoRA have many more singular values above 0.1 than LoRA and ReLoRA: updates of high rank, as those of full training.',
  shown: [
    ...KINDS.map((kind) => ({ name: kind, format: fixed(1) })),
    { name: 'effective rank', format: fixed(1) },
    pretrain.scales.small.tasks[0].measures[0],
  ],
}
