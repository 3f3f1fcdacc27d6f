/**
 * The contestants of the paper (arXiv 2405.12130) with their settings. Numbers come from its Table 5 if no other section stands
 * beside them. A contestant is tried with each of its `variants` at each of its `learningRates`, and the best one counts.
 */

/** @typedef {{ label: string, options: Record<string, unknown> }} Variant what tells two trials of a contestant apart */
/** @typedef {{ name: string, options: Record<string, unknown>, learningRates: number[], variants: Variant[] }} Contestant */

const cosine = (warmupSteps, epochs) => ({ scheduler: 'cosine', warmupSteps, epochs, batchSize: 128 })
const linear = (warmupSteps, epochs) => ({ scheduler: 'linear', warmupSteps, epochs, batchSize: 128 })

/** Table 5: what each data set is trained with, and the learning rates of each kind of method. */
export const TABLE_5 = {
  'Tulu v2': {
    training: cosine(500, 2),
    full: [2e-5],
    low: { rank: 8, alpha: 16, lora: [1e-4, 2e-4], mora: [2e-4, 3e-4] },
    high: { rank: 256, alpha: 128, lora: [1e-4, 2e-4], mora: [3e-5, 5e-5] },
  },
  MetaMathQA: {
    training: cosine(300, 3),
    full: [2e-5],
    low: { rank: 8, alpha: 16, lora: [1e-4, 2e-4], mora: [2e-4, 3e-4] },
    high: { rank: 256, alpha: 128, lora: [1e-4, 2e-4], mora: [3e-5, 5e-5] },
  },
  'BioMed, Finance': {
    training: linear(150, 3),
    full: [3e-5],
    low: { rank: 8, alpha: 16, lora: [3e-4, 4e-4], mora: [4e-4, 5e-4] },
    high: { rank: 256, alpha: 128, lora: [3e-4, 4e-4], mora: [5e-5, 7e-5] },
  },
}

/** Ranks and learning rates of fine-tuning at scale `small`. */
export const SMALL = {
  full: [5e-4, 1e-3, 2e-3, 4e-3],
  low: { rank: 2, alpha: 4, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [2e-3, 5e-3, 1e-2, 2e-2] },
  high: { rank: 16, alpha: 8, lora: [2e-3, 5e-3, 1e-2, 2e-2], mora: [1e-3, 2e-3, 5e-3, 1e-2] },
}

/** The same at scale `real`. */
export const REAL = {
  full: [1e-5, 2e-5, 5e-5],
  low: { rank: 8, alpha: 16, lora: [2e-4, 5e-4, 1e-3], mora: [2e-4, 5e-4, 1e-3] },
  high: { rank: 128, alpha: 64, lora: [2e-4, 5e-4, 1e-3], mora: [5e-5, 1e-4, 2e-4] },
}

/** Section 5.2: LoRA+ searches λ, B's learning rate over A's; ReLoRA the steps between merges, with 50 steps of warm-up after each. */
export const SECTION_5_2 = { loraPlusRatios: [2, 4], mergeEvery: [1000, 2000], restartWarmupSteps: 50 }

/** Sections 3 and 5.1: 10,000 pairs, 1,000 a batch, 100 epochs; LoRA of every rank of figure 2. */
export const SECTION_3 = {
  pairs: 10_000,
  batchSize: 1000,
  epochs: 100,
  full: [3e-5],
  loraRanks: [8, 16, 32, 64, 128, 256],
  moraRanks: [8, 256],
  lora: [1e-4, 2e-4, 3e-4],
  mora: [5e-5, 1e-4, 2e-4],
}

/** Section 5.3: 10k steps of 1024 rows of 512 tokens, r = 128, merges every 2k steps. Its learning rates are not stated. */
export const SECTION_5_3 = {
  maxSteps: 10_000,
  batchSize: 1024,
  maxLength: 512,
  rank: 128,
  mergeEvery: 2000,
  restartWarmupSteps: 50,
  learningRates: [2e-4, 5e-4, 1e-3, 2e-3],
}

const one = [{ label: '', options: {} }]

/** @returns {Contestant} */
const contestant = (name, options, learningRates, variants = one) => ({ name, options, learningRates, variants })

const full = (learningRates) => contestant('FFT', { method: 'full' }, learningRates)
const rotation = (rank, rates) => mora('rotation', rank, rates)
const sharing = (rank, rates) => mora('sharing', rank, rates)
const mora = (operator, rank, rates) =>
  contestant(`MoRA ${operator}, r = ${rank}`, { method: 'mora', operator, rank }, rates)

/**
 * All methods of the paper's tables 1 to 3 at two ranks. The authors train both matrices of AsyLoRA ("we adopted their
 * initialization", section 5.2). MoRA rotates at the low rank (eq. 9) and shares at the high one (eq. 6).
 * @param settings of the form of an entry of TABLE_5
 * @param search of the form of SECTION_5_2
 */
export function fineTuning({ full: fullRates, low, high }, { loraPlusRatios, mergeEvery, restartWarmupSteps }) {
  const ratios = loraPlusRatios.map((ratio) => ({ label: `λ = ${ratio}`, options: { loraPlusRatio: ratio } }))
  const merges = mergeEvery.map((steps) => ({ label: `merges every ${steps}`, options: { mergeEvery: steps } }))
  const restarts = { scheduler: 'cosine-restarts', restartWarmupSteps }
  const loras = ({ rank, alpha, lora }) => {
    const like = (name, options, variants) =>
      contestant(`${name}, r = ${rank}`, { ...options, rank, alpha }, lora, variants)
    return [
      like('LoRA', { method: 'lora' }),
      like('LoRA+', { method: 'lora-plus' }, ratios),
      like('ReLoRA', { method: 'lora', ...restarts }, merges),
      like('AsyLoRA', { method: 'asylora', asyloraTrainA: true }),
      like('DoRA', { method: 'dora' }),
    ]
  }
  return [full(fullRates), ...loras(low), rotation(low.rank, low.mora), ...loras(high), sharing(high.rank, high.mora)]
}

/** Figure 2 and section 5.1. LoRA's α is twice its rank (16 at r = 8, as in Table 5). */
export function memorising({ full: fullRates, loraRanks, moraRanks, lora, mora }) {
  const [low, high] = moraRanks
  return [
    full(fullRates),
    ...loraRanks.map((rank) => contestant(`LoRA, r = ${rank}`, { method: 'lora', rank }, lora)),
    rotation(low, mora),
    sharing(high, mora),
  ]
}

const OPERATORS = ['truncation', 'sharing', 'decoupling', 'rotation']

/** Table 4: the operators at two ranks. */
export const operators = ({ low, high }) =>
  [low, high].flatMap(({ rank, mora: rates }) => OPERATORS.map((operator) => mora(operator, rank, rates)))

/**
 * Section 5.3: embeddings, norms and head are trained too, and there is no full-rank warm-up. ReMoRA alternates its two groupings
 * (Appendix B); `permute` is this project's own.
 */
export function pretraining({ rank, mergeEvery, restartWarmupSteps, learningRates, fullRates = learningRates }) {
  const restarts = { mergeEvery, restartWarmupSteps, scheduler: 'cosine-restarts' }
  const named = (name, options) =>
    contestant(
      `${name}, r = ${rank}`,
      { rank, modulesToSave: ['embeddings', 'norms', 'head'], ...options },
      learningRates,
    )
  return [
    full(fullRates),
    named('LoRA', { method: 'lora' }),
    named('MoRA', { method: 'mora', operator: 'sharing' }),
    named('ReLoRA', { method: 'lora', ...restarts }),
    named('ReMoRA', { method: 'mora', cycle: ['sharing', 'sharing-grouped'], ...restarts }),
    named('ReMoRA permute', { method: 'mora', operator: 'sharing', regroup: 'permute', ...restarts }),
  ]
}
