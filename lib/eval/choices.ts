/** The task `choices`: multiple-choice questions, and the text that asks them. */
import { quoted } from '../common/errors.js'
import { malformedRow } from '../data/rows/check.js'
import { type ChoiceRow, LETTERS } from '../data/rows/choices.js'
import type { RowReading } from '../data/rows/reading.js'
import type { DataRecord } from '../data/rows/record.js'
import type { OpenSource } from '../data/sources/open.js'
import type { Message } from '../data/templates/template.js'
import { PromptCache, promptTokens, requireTokenizer } from '../generate/index.js'
import { scoreContinuations } from './continuations.js'
import { taskRecords } from './rows.js'
import type { ChoicesResult, TaskContext } from './task.js'

/** Answers each question with the choice of the highest log-probability; the first one wins a tie. */
export async function answerChoices(context: TaskContext): Promise<ChoicesResult> {
  const { model, options, data, shotsData, reading, done, signal } = context
  requireTokenizer(model)
  const shots = await Shots.read(shotsData, options.shots, reading, signal)
  const all = new Tally()
  const bySubject = new Map<string, Tally>()
  using cache = new PromptCache(model)
  for await (const record of taskRecords(data, { limit: options.limit, signal })) {
    const row = reading.choices(record)
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

/** The solved examples before a question: the first ones of its subject. */
class Shots {
  readonly #bySubject = new Map<string, ChoiceRow[]>()

  private constructor(readonly count: number) {}

  /** Reads the examples that any question can need: one more of each subject than `count`. */
  static async read(
    sources: readonly OpenSource[] | undefined,
    count: number,
    reading: RowReading,
    signal?: AbortSignal,
  ): Promise<Shots> {
    const shots = new Shots(count)
    if (count === 0 || !sources) return shots
    for await (const record of taskRecords(sources, { signal })) {
      const row = reading.choices(record)
      const rows = shots.#bySubject.get(row.subject ?? '') ?? []
      shots.#bySubject.set(row.subject ?? '', rows)
      if (rows.length <= count) rows.push(row)
    }
    return shots
  }

  /** @throws InputError if the subject has too few; a question is never its own example */
  of({ question, subject }: ChoiceRow, where: string): ChoiceRow[] {
    const others = (this.#bySubject.get(subject ?? '') ?? []).filter((row) => row.question !== question)
    if (others.length >= this.count) return others.slice(0, this.count)
    const which = subject === undefined ? 'without a subject' : `of the subject "${subject}"`
    throw malformedRow(
      where,
      `the shots data has ${others.length} other questions ${which}, and ${this.count} were asked for`,
    )
  }
}

type Score = 'letter' | 'text'

/**
 * Returns the text of a question. With `letter`, choices are listed, each after its letter:
 *
 *     What is 2 + 2?
 *     A. 3
 *     B. 4
 *     Answer:
 *
 * and the answer is a letter. With `text`, the question is followed by `Answer:` alone, and the answer is the choice itself.
 * In a chat, each question is a user's turn and each answer an assistant's. Without a template, a space comes before each
 * answer and an empty line between questions.
 */
function questionText({ question, choices }: ChoiceRow, score: Score): string {
  const listed = score === 'letter' ? choices.map((choice, i) => `${LETTERS[i]}. ${choice}\n`) : []
  return `${question}\n${listed.join('')}Answer:`
}

function answerText({ choices }: ChoiceRow, index: number, score: Score): string {
  return score === 'letter' ? LETTERS[index]! : choices[index]!
}

/** Returns the conversation up to the requested answer. */
function chatOf(row: ChoiceRow, shots: readonly ChoiceRow[], score: Score): Message[] {
  const turns = shots.flatMap((shot) => [
    { role: 'user', content: questionText(shot, score) },
    { role: 'assistant', content: answerText(shot, shot.answer, score) },
  ])
  return [...turns, { role: 'user', content: questionText(row, score) }]
}

/** Returns the same conversation as plain text. */
function plainTextOf(row: ChoiceRow, shots: readonly ChoiceRow[], score: Score): string {
  const solved = shots.map((shot) => `${questionText(shot, score)} ${answerText(shot, shot.answer, score)}\n\n`)
  return solved.join('') + questionText(row, score)
}
