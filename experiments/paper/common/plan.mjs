/** What an experiment runs at a scale. */
const NAMES = ['memory', 'instruct', 'math', 'continual', 'pretrain', 'operators', 'spectra']
const load = (name) => import(`../${name}.mjs`)

/** The experiments of the paper by name. */
export const experiments = Object.fromEntries(
  await Promise.all(NAMES.map(async (name) => [name, (await load(name)).default])),
)
export const SCALES = ['small', 'real', 'paper']

/**
 * @typedef Measure
 * @property {string} name as tables show it
 * @property {string} value key of the result of `evaluate`
 * @property {(value: number) => string} format
 * @property {boolean} [lowerIsBetter]
 */
/**
 * @typedef Task
 * @property {import('../sets.mjs').Set} [set] the rows; absent if they are those of training
 * @property {import('../sets.mjs').Set} [shots]
 * @property {number} [limit] of rows
 * @property {Record<string, unknown>} options of `evaluate`
 * @property {Measure[]} measures the first one of the first task is what contestants are judged by, unless there is an `average`
 */

/**
 * Returns the parts of an experiment at a scale: one, or several with names, such as the sizes of a model. Each has `train`,
 * `training`, `tasks`, `measureAt`, `seeds`, `contestants`, and, if it trains from scratch, `init`.
 */
export function planOf(name, scale, { tiny = false } = {}) {
  const experiment = experiments[name]
  const { parts = { '': {} }, ...settings } = experiment.scales[scale]
  return Object.entries(parts).map(([part, own]) => {
    const plan = { part, keepsSpectra: experiment.keepsSpectra, ...settings, ...own }
    return tiny ? cut(plan) : plan
  })
}

/** The numbers of `--tiny`: everything is run and measured, on next to nothing. */
const TINY = { steps: 4, mergeEvery: 2, rows: 2, tokens: 48, samples: 4, shots: 64 }

/** Makes numbers smaller and leaves everything else. */
function cut(plan) {
  const { batchSize, maxSteps, epochs, ...training } = plan.training
  const few = (set, most = TINY.samples) => set && { ...set, count: Math.min(set.count ?? most, most) }
  const cutOptions = (options) => ({
    ...options,
    ...(options.rank && { rank: Math.ceil(options.rank / 64) }),
    ...(options.mergeEvery && { mergeEvery: TINY.mergeEvery }),
    ...(options.restartWarmupSteps && { restartWarmupSteps: 1 }),
  })
  const cutContestant = ({ options, variants, learningRates, ...contestant }) => ({
    ...contestant,
    options: cutOptions(options),
    learningRates: learningRates.slice(0, 1),
    variants: variants.slice(0, 1).map((variant) => ({ ...variant, options: cutOptions(variant.options) })),
  })
  return {
    ...plan,
    train: few(plan.train),
    init: plan.init && {
      ...plan.init,
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 2,
    },
    training: { ...training, batchSize: TINY.rows, maxSteps: TINY.steps, warmupSteps: 1 },
    tasks: plan.tasks.map(({ options, ...task }) => ({
      ...task,
      set: few(task.set),
      shots: few(task.shots, TINY.shots),
      limit: TINY.rows,
      options: {
        ...options,
        ...(options.window && { window: TINY.tokens }),
        ...(GENERATES.has(options.task) && { maxNewTokens: 4 }),
      },
    })),
    measureAt: plan.measureAt.slice(0, 1).map(() => 1),
    seeds: plan.seeds.slice(0, 1),
    contestants: plan.contestants.map(cutContestant),
  }
}

const GENERATES = new Set(['gsm8k', 'math', 'ner', 'convfinqa'])
