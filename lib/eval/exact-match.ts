import { z } from 'zod'
import { checked } from '../data/rows/check.js'
import { continuationText, PromptCache, promptTokens, requireTokenizer, stopTokens } from '../generate/index.js'
import { expectedAnswer, extractAnswer, isSameAnswer } from './answers.js'
import { complete } from './complete.js'
import { recordsOf } from './records.js'
import type { ExactMatchResult, TaskContext } from './task.js'

const exactMatchRow = z.looseObject({
  prompt: z.string(),
  answer: z.union([z.string().min(1), z.number().transform(String)]),
})

/** Generates a solution to each problem and compares its answer. A solution without an answer is wrong. */
export async function exactMatch(context: TaskContext): Promise<ExactMatchResult> {
  const { model, options, data, template, templateContext, done, signal } = context
  const tokenizer = requireTokenizer(model)
  const stopIds = await stopTokens(model, template)
  const { maxNewTokens } = options
  const result: ExactMatchResult = { correct: 0, rows: 0, accuracy: 0 }
  using cache = new PromptCache(model)
  for await (const record of recordsOf(data, { limit: options.limit, signal })) {
    const { prompt, answer } = checked(exactMatchRow, record.value, record.where)
    const ids = await promptTokens(model, template, { prompt, ...templateContext }, signal)
    const name = `${record.where}: the prompt`
    const completion = await complete(cache, ids, { maxNewTokens, stopIds, name, signal })
    const generated = await continuationText(tokenizer, ids, completion)
    const expected = expectedAnswer(answer)
    const given = extractAnswer(generated)
    const correct = given !== null && isSameAnswer(given, expected)
    result.rows++
    if (correct) result.correct++
    result.accuracy = result.correct / result.rows
    await done(
      { prompt, answer: expected, generated, extracted: given, correct },
      `accuracy ${result.accuracy.toFixed(3)}`,
    )
  }
  return result
}
