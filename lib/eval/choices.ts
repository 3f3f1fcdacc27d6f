import { quoted } from '../common/errors.js'
import { malformedRow } from '../data/rows/check.js'
import type { DataRecord } from '../data/rows/record.js'
import { PromptCache, promptTokens, requireTokenizer } from '../generate/index.js'
import { answerText, type ChoiceRow, chatOf, parseChoiceRow, plainTextOf, Shots } from './choice-rows.js'
import { scoreContinuations } from './continuations.js'
import { recordsOf } from './records.js'
import type { ChoicesResult, TaskContext } from './task.js'

/** A question is answered with the choice of the highest log-probability; the first one wins a tie. */
export async function choices(context: TaskContext): Promise<ChoicesResult> {
  const { model, options, data, shotsData, done, signal } = context
  requireTokenizer(model)
  const shots = await Shots.read(shotsData, options.shots, signal)
  const all = new Tally()
  const bySubject = new Map<string, Tally>()
  using cache = new PromptCache(model)
  for await (const record of recordsOf(data, { limit: options.limit, signal })) {
    const row = parseChoiceRow(record)
    const logprobs = await logprobsOf(row, shots.of(row, record.where), record, context, cache)
    const predicted = logprobs.indexOf(Math.max(...logprobs))
    const correct = predicted === row.answer
    all.add(correct)
    if (row.subject !== undefined) {
      const tally = bySubject.get(row.subject) ?? new Tally()
      bySubject.set(row.subject, tally)
      tally.add(correct)
    }
    const { question, subject, answer } = row
    await done({ question, subject, answer, predicted, logprobs, correct }, `accuracy ${all.accuracy.toFixed(3)}`)
  }
  const subjects = [...bySubject].sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    accuracy: all.accuracy,
    bySubject: Object.fromEntries(subjects.map(([subject, tally]) => [subject, tally.accuracy])),
  }
}

/** Computes one log-probability for each choice. */
async function logprobsOf(
  row: ChoiceRow,
  shots: readonly ChoiceRow[],
  { where }: DataRecord,
  { model, options, template, templateContext, signal }: TaskContext,
  cache: PromptCache,
): Promise<number[]> {
  const { score, batchSize } = options
  const prompt = template
    ? await promptTokens(model, template, { messages: chatOf(row, shots, score), ...templateContext }, signal)
    : await promptTokens(model, template, { prompt: plainTextOf(row, shots, score) })
  const tokenizer = requireTokenizer(model)
  const answers = row.choices.map((_, i) => `${template ? '' : ' '}${answerText(row, i, score)}`)
  const continuations = await Promise.all(answers.map((text) => tokenizer.encodeContinuation(text, signal)))
  const empty = continuations.findIndex((ids) => ids.length === 0)
  if (empty >= 0) throw malformedRow(where, `choices[${empty}]: ${quoted(row.choices[empty])} has no token`)
  const longest = prompt.length + Math.max(...continuations.map((ids) => ids.length))
  const { maxPositions } = model.config
  if (longest > maxPositions) {
    throw malformedRow(
      where,
      `the question with its ${shots.length} shots has ${longest} tokens and the model ${maxPositions} positions; use fewer shots`,
    )
  }
  return scoreContinuations(model, cache, prompt, continuations, { batchSize, signal })
}

class Tally {
  #correct = 0
  #rows = 0

  add(correct: boolean): void {
    this.#rows++
    if (correct) this.#correct++
  }

  get accuracy(): number {
    return this.#correct / this.#rows
  }
}
