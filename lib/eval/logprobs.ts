import { examplesOf, taskRecords } from './rows.js'
import { rowsAtOnce, scoreRows } from './score.js'
import type { LogProbsResult, TaskContext } from './task.js'

/** Computes the log-probability of each token after the first, whichever tokens of a row are trained. */
export async function logProbs(context: TaskContext): Promise<LogProbsResult> {
  const { model, options, data, reading, done, signal } = context
  const result: LogProbsResult = { rows: [] }
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
    result.rows.push(line)
    await done(line)
  }
  return result
}
