/** Continual pretraining on another domain (the paper: biomedicine and finance), and forgetting of the first. */
import { fixed, percent } from './common/format.mjs'
import { fineTuning, SECTION_5_2, TABLE_5 } from './contestants.mjs'
import * as sets from './sets.mjs'

const perplexity = (name, set, options) => ({
  set,
  options: { task: 'perplexity', ...options },
  measures: [{ name: `perplexity, ${name}`, value: 'perplexity', format: fixed(3), lowerIsBetter: true }],
})
/** By the figure that is published for the task. */
const percentOf = (task, name, set) => ({
  set,
  options: { task },
  measures: [{ name: `${name}, %`, value: 'score', format: percent }],
})

export default {
  title: 'Continual pretraining',
  claim:
    "Averages of a domain's tasks, 7B, biomedicine / finance: full fine-tuning 56.4 / 69.6; r = 8: LoRA 52.3 / 64.0, MoRA " +
    '53.3 / 67.1; r = 256: LoRA 54.1 / 67.3, MoRA 55.4 / 68.7.',
  scales: {
    small: {
      train: sets.newTexts,
      training: { batchSize: 16, maxLength: 128, maxSteps: 60, warmupSteps: 5, scheduler: 'linear' },
      tasks: [
        perplexity('new language', sets.heldTexts, { window: 128 }),
        { ...perplexity('language of the base model', sets.knownTexts), limit: 60 },
      ],
      measureAt: [20, 40, 60],
      seeds: [1, 2, 3],
      contestants: fineTuning(
        {
          full: [5e-4, 1e-3, 2e-3, 4e-3],
          low: { rank: 2, alpha: 4, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [2e-3, 5e-3, 1e-2, 2e-2] },
          high: { rank: 16, alpha: 8, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [2e-3, 5e-3, 1e-2, 2e-2] },
        },
        { loraPlusRatios: [2, 4], mergeEvery: [30], restartWarmupSteps: 4 },
      ),
    },
    real: {
      train: sets.shakespeareTrain,
      training: { batchSize: 4, maxLength: 128, maxSteps: 16, warmupSteps: 2, scheduler: 'linear' },
      tasks: [
        { ...perplexity('Shakespeare, held back', sets.shakespeareTest, { window: 128 }), limit: 30 },
        { ...perplexity('answers of GSM8K', sets.gsm8kTest), limit: 10 },
      ],
      measureAt: [],
      seeds: [1],
      contestants: fineTuning(
        {
          full: [1e-5, 3e-5, 1e-4],
          low: { rank: 8, alpha: 16, lora: [3e-4, 1e-3, 2e-3], mora: [3e-4, 1e-3, 2e-3] },
          high: { rank: 128, alpha: 64, lora: [3e-4, 1e-3, 2e-3], mora: [1e-4, 3e-4, 1e-3] },
        },
        { loraPlusRatios: [4], mergeEvery: [8], restartWarmupSteps: 2 },
      ),
    },
    paper: {
      training: { ...TABLE_5['BioMed, Finance'].training, maxLength: 4096 },
      parts: {
        biomedicine: {
          train: sets.pubmed,
          tasks: [
            percentOf('pubmedqa', 'PubMedQA', sets.pubmedQa),
            percentOf('medqa', 'USMLE', sets.usmle),
            percentOf('mmlu', 'BioMMLU', sets.bioMmlu),
            percentOf('rct', 'RCT', sets.rct),
          ],
        },
        finance: {
          train: sets.financialNews,
          tasks: [
            percentOf('convfinqa', 'ConvFinQA', sets.convFinQa),
            percentOf('fiqa', 'FiQA SA', sets.fiqa),
            percentOf('headline', 'Headline', sets.headline),
            percentOf('ner', 'NER', sets.ner),
            percentOf('fpb', 'FPB', sets.fpb),
          ],
        },
      },
      average: { name: 'average, %', format: percent },
      measureAt: [],
      seeds: [1, 2, 3],
      contestants: fineTuning(TABLE_5['BioMed, Finance'], SECTION_5_2),
    },
  },
}
