import { noTargets, scoredRows } from './rows.js'
import { float64Sum, rowsAtOnce, scoreRows } from './score.js'
import type { PerplexityResult, TaskContext } from './task.js'

/**
 * Computes exp of the mean negative log-probability, over windows of texts and target tokens of other rows. It keeps only sums,
 * so memory does not grow with the data.
 */
export async function perplexity(context: TaskContext): Promise<PerplexityResult> {
  const { model, options, data, done, signal } = context
  let total = 0
  let tokens = 0
  let targets = 0
  for await (const { row, logprobs } of scoreRows(model, scoredRows(context), {
    batchSize: rowsAtOnce(options),
    signal,
  })) {
    const loss = -float64Sum(logprobs)
    total += loss
    tokens += row.newTokens
    targets += logprobs.length
    const line = { tokens: row.newTokens, targets: logprobs.length, loss: loss / logprobs.length }
    await done(line, `perplexity ${Math.exp(total / targets).toPrecision(5)}`)
  }
  if (targets === 0) throw noTargets(data, 'there is no perplexity')
  const loss = total / targets
  return { perplexity: Math.exp(loss), loss, tokens, targets }
}
