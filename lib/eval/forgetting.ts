import { namesOf } from '../data/sources/open.js'
import { InputError, UsageError } from '../errors.js'
import { partsOf } from './perplexity.js'
import { passesOf, type Scorer, scorePass, sum } from './score.js'
import type { EvaluatedModel, ForgettingResult, TaskContext } from './task.js'

/**
 * How much worse a model has become at a text that it was not trained on: its mean loss less that of the model before. Both
 * read the same windows or rows, those of `perplexity`, one pass after the other.
 */
export async function forgetting(context: TaskContext): Promise<ForgettingResult> {
  const { model, options, data, signal, done } = context
  const earlier = modelBefore(context)
  let [before, after, tokens, targets] = [0, 0, 0, 0]
  for await (const pass of passesOf(partsOf(context), options.batchSize)) {
    const scores = await scorePass(model, pass, signal)
    const earlierScores = await scorePass(earlier, pass, signal)
    for (const [i, { row, logprobs }] of scores.entries()) {
      const [lossBefore, lossAfter] = [-sum(earlierScores[i]!.logprobs), -sum(logprobs)]
      before += lossBefore
      after += lossAfter
      tokens += row.newTokens
      targets += logprobs.length
      const line = { tokens: row.newTokens, targets: logprobs.length }
      await done(
        { ...line, before: lossBefore / logprobs.length, after: lossAfter / logprobs.length },
        `forgetting ${((after - before) / targets).toFixed(4)}`,
      )
    }
  }
  if (targets === 0) {
    throw new InputError('no-targets', `${namesOf(data)}: no token is predicted, so there is no loss.`)
  }
  return { forgetting: (after - before) / targets, before: before / targets, after: after / targets, tokens, targets }
}

/** @throws UsageError where there is none, or its tokens are not those of the model */
function modelBefore({ model, base }: TaskContext): Scorer {
  if (base === null) return withoutAdapters(model)
  const [before, after] = [base.config.vocabularySize, model.config.vocabularySize]
  if (before !== after) {
    throw new UsageError(
      'unfit-options',
      `The base has a vocabulary of ${before} tokens and the model one of ${after}: their losses cannot be compared.`,
    )
  }
  base.setDropout(null)
  return base
}

function withoutAdapters(model: EvaluatedModel): Scorer {
  const active = model.adapterSet.activeNames()
  if (active.length === 0 || !model.setActiveAdapters) {
    throw new UsageError(
      'unfit-options',
      'The task forgetting compares two models: load an adapter, or give the model before as base.',
    )
  }
  return {
    async tokenLogProbs(batch) {
      model.setActiveAdapters!([])
      try {
        return await model.tokenLogProbs(batch)
      } finally {
        model.setActiveAdapters!(active)
      }
    },
  }
}
