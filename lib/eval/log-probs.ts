/** The tasks of log-probabilities: `perplexity` and `logprobs`. */

import type { TaskContext } from './context.js'
import { examplesOf, noTargets, scoredRows, taskRecords } from './rows.js'
import { float64Sum, rowsAtOnce, scoreRows } from './score.js'

/**
 * Computes exp of the mean negative log-probability, over windows of texts and target tokens of other rows. It keeps only sums,
 * so memory does not grow with the data.
 */
export async function perplexity(context: TaskContext) {
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
  return {
    /** exp(loss). */
    perplexity: Math.exp(loss),
    /** Mean negative natural log-probability of the targets. */
    loss,
    /** Tokens read. */
    tokens,
    /** Tokens predicted. */
    targets,
  }
}

/** Computes the log-probability of each token after the first, whichever tokens of a row are trained. */
export async function logProbs(context: TaskContext) {
  const { model, options, data, reading, done, signal } = context
  const found: { ids: number[]; logprobs: number[] }[] = []
  const whole = { ...context, options: { ...options, trainOn: 'all' as const } }
  const rows = async function* () {
    for await (const record of taskRecords(data, { limit: options.limit, signal })) {
      const examples = await examplesOf(reading.training(record), record.where, whole)
      for (const { ids } of examples.flatMap(({ documents }) => documents)) {
        yield { ids, mask: new Uint8Array(ids.length).fill(1) }
      }
    }
  }
  for await (const { row, logprobs } of scoreRows(model, rows(), { batchSize: rowsAtOnce(options), signal })) {
    const line = { ids: [...row.ids], logprobs: [...logprobs] }
    found.push(line)
    await done(line)
  }
  return {
    /** For each row its token ids, and the natural log-probability of each token after the first, given those before it. */
    rows: found,
  }
}
