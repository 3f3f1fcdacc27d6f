/** Jobs that train the adapter of a tuned model further. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { quoted, UsageError } from '../common/errors.js'
import { fieldOf } from '../common/option-names.js'
import { ADAPTER_OPTIONS } from './methods.js'
import type { Job } from './records.js'
import { checkpointsOfRun } from './results.js'
import { ADAPTER_FILES, type JobStore } from './store.js'

/** A tuned model that a job trains further. */
export interface ContinuedModel {
  readonly name: string
  /** The folder of its adapter. */
  readonly folder: string
  /** Options of `train` that describe the adapter. */
  readonly options: Job['options']['mora']
}

/**
 * Returns the tuned model of a job, or of one of its checkpoints.
 * @param name of the model
 * @throws UsageError `unknown-adapter` if it is not trained yet, or deleted
 */
export async function continuedModel(name: string, job: Job, store: JobStore): Promise<ContinuedModel> {
  const { run } = store.pathsOf(job)
  const step = /:ckpt-step-(\d+)$/.exec(name)?.[1]
  const checkpoints = step === undefined ? [] : await checkpointsOfRun(run)
  const folder = step === undefined ? run : checkpoints.find((one) => one.step === Number(step))?.path
  const isThere = folder !== undefined && ADAPTER_FILES.every((file) => existsSync(join(folder, file)))
  if (!isThere || job.isDeleted) throw new UsageError('unknown-adapter', `The model ${quoted(name)} does not exist.`)
  const described = Object.entries(job.options.mora).filter(([option]) => ADAPTER_OPTIONS.some((one) => one === option))
  return { name, folder, options: Object.fromEntries(described) }
}

/** @throws UsageError `bad-value` for an option that describes a new adapter, by its field */
export function requireNoAdapterOptions(
  { name }: ContinuedModel,
  mora: Job['options']['mora'],
  objective: string,
): void {
  const given = ADAPTER_OPTIONS.find((option) => mora[option] !== undefined)
  if (given === undefined) return
  const option = `method.${objective}.mora.${fieldOf(given)}`
  throw new UsageError(
    'bad-value',
    `${option} describes a new adapter, and the job trains that of ${name}: leave it out.`,
    {
      option,
    },
  )
}
