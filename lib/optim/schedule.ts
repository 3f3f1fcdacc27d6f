/**
 * Learning-rate schedules: pure functions of the optimizer step and the total, by the formulas of Hugging Face's
 * transformers (`get_*_schedule*` in optimization.py), and the jagged cosine of ReMoRA and ReLoRA.
 */
import { atLeast, check, optionsSchema } from '../common/arguments.js'
import { quoted, UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'

/** Names of the schedules, the values of `--scheduler`. */
export type Scheduler = 'constant' | 'linear' | 'cosine' | 'cosine-restarts'

/** Options of a learning-rate schedule. */
export interface ScheduleOptions {
  /** Peak learning rate. */
  learningRate: number
  /** Default `cosine`. */
  scheduler?: Scheduler
  /** Optimizer steps of the whole run. */
  totalSteps: number
  /** Steps of linear warm-up from 0. Default 0. */
  warmupSteps?: number
  /** Warm-up as a fraction of the total, rounded up; used if `warmupSteps` is 0. Default 0. */
  warmupRatio?: number
  /** Fraction of the peak at which the decay ends. Default 0; 0.1 for `cosine-restarts`. */
  minLearningRateRatio?: number
  /** Period of `cosine-restarts`, in steps. */
  mergeEvery?: number
  /** Warm-up after each restart of `cosine-restarts`. Default 50. */
  restartWarmupSteps?: number
}

/** Returns the fraction of the peak learning rate at a schedule step. */
type Factor = (step: number) => number

const anAmount = atLeast(0)
const scheduleArguments = {
  options: optionsSchema('the options of schedule', {
    learningRate: anAmount,
    totalSteps: anAmount,
    minLearningRateRatio: anAmount.optional(),
    warmupSteps: anAmount.optional(),
    warmupRatio: anAmount.optional(),
    mergeEvery: atLeast(1).optional(),
    restartWarmupSteps: anAmount.optional(),
  }),
}

/**
 * Returns the learning rate of each schedule step, counted from 0: step `s` is used by optimizer step `s + 1`.
 * Throws a `UsageError` if a number is out of range or `cosine-restarts` has no period.
 *
 * ```ts
 * import { schedule } from 'node-mora'
 *
 * const rate = schedule({ scheduler: 'cosine', learningRate: 3e-4, totalSteps: 100, warmupSteps: 10 })
 * console.log(rate(0), rate(10), rate(100)) // 0 0.0003 0
 * ```
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  check({ options }, scheduleArguments)
  const { learningRate, scheduler = 'cosine', totalSteps } = options
  const minimum = options.minLearningRateRatio ?? (scheduler === 'cosine-restarts' ? 0.1 : 0)
  const warmup = warmupLength(options)
  const factor = factorOf(scheduler, totalSteps, warmup, minimum, options)
  return (step) => learningRate * factor(step)
}

/** Returns the number of warm-up steps as Hugging Face counts them: `warmupSteps`, else ⌈`warmupRatio` · total⌉. */
export function warmupLength({ totalSteps, warmupSteps = 0, warmupRatio = 0 }: ScheduleOptions): number {
  return warmupSteps > 0 ? warmupSteps : Math.ceil(warmupRatio * totalSteps)
}

function factorOf(
  scheduler: Scheduler,
  total: number,
  warmup: number,
  minimum: number,
  { mergeEvery, restartWarmupSteps = 50 }: ScheduleOptions,
): Factor {
  switch (scheduler) {
    case 'constant':
      return warmUp(warmup, () => 1)
    case 'linear':
      return warmUp(warmup, (step) => {
        const remaining = Math.max(0, (total - step) / Math.max(1, total - warmup))
        return minimum + (1 - minimum) * remaining
      })
    case 'cosine':
      return warmUp(warmup, cosine(total, warmup, minimum))
    case 'cosine-restarts': {
      if (mergeEvery === undefined) {
        throw new UsageError(
          'unfit-options',
          `The scheduler cosine-restarts needs a period: set ${optionName('mergeEvery')}, or use the scheduler cosine.`,
        )
      }
      return jaggedCosine(total, warmup, minimum, mergeEvery, restartWarmupSteps)
    }
    default:
      throw new UsageError(
        'unknown-value',
        `Expected constant, linear, cosine or cosine-restarts for scheduler but received ${quoted(scheduler)}.`,
      )
  }
}

function warmUp(warmup: number, after: Factor): Factor {
  return (step) => (step < warmup ? step / warmup : after(step))
}

function cosine(total: number, warmup: number, minimum: number): Factor {
  return (step) => {
    const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup))
    const decayed = 0.5 * (1 + Math.cos(Math.PI * progress))
    return minimum + (1 - minimum) * decayed
  }
}

/**
 * A cosine over the whole run (padded to whole periods). Every period after the first starts with a linear warm-up that
 * ends on the cosine (MoRA, arXiv 2405.12130, section 5.3; ReLoRA, arXiv 2307.05695).
 */
function jaggedCosine(total: number, warmup: number, minimum: number, period: number, restart: number): Factor {
  const decay = cosine(Math.ceil(total / period) * period, warmup, minimum)
  return warmUp(warmup, (step) => {
    const intoPeriod = step % period
    if (step < period || intoPeriod >= restart) return decay(step)
    return (intoPeriod / restart) * decay(step - intoPeriod + restart)
  })
}
