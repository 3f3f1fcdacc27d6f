import { UsageError } from '../common/errors.js'
import type { EvaluatedModel, TaskContext } from './task.js'

/** Uses the model before, as it is then. */
export type ModelBefore = <Result>(use: (model: EvaluatedModel) => Promise<Result>) => Promise<Result>

/**
 * What a task compares the model with: the base, or the model without its active adapters, which take part again afterwards.
 * @throws UsageError `unfit-options` where there is none, or its tokens are not those of the model
 */
export function modelBefore({ model, base, options }: TaskContext): ModelBefore {
  if (base === null) return withoutAdapters(model, options.task!)
  const [before, after] = [base.config.vocabularySize, model.config.vocabularySize]
  if (before !== after) {
    throw new UsageError(
      'unfit-options',
      `The base has a vocabulary of ${before} tokens and the model one of ${after}: their losses cannot be compared.`,
    )
  }
  base.setDropout(null)
  return (use) => use(base)
}

function withoutAdapters(model: EvaluatedModel, task: string): ModelBefore {
  const active = model.adapterSet.activeNames()
  if (active.length === 0 || !model.setActiveAdapters) {
    throw new UsageError(
      'unfit-options',
      `The task ${task} compares two models: load an adapter, or give the model before as base.`,
    )
  }
  return async (use) => {
    model.setActiveAdapters!([])
    try {
      return await use(model)
    } finally {
      model.setActiveAdapters!(active)
    }
  }
}
