import { InputError } from '../common/errors.js'
import { namesOf } from '../data/sources/open.js'
import { modelBefore } from './model-before.js'
import { partsOf } from './perplexity.js'
import { passesOf, scorePass, sum } from './score.js'
import type { ForgettingResult, TaskContext } from './task.js'

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
    const earlierScores = await earlier((before) => scorePass(before, pass, signal))
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
