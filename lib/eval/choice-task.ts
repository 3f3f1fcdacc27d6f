/** Tasks that compare the log-probabilities of choices. */
import { quoted } from '../common/errors.js'
import { theOption } from '../common/option-names.js'
import { malformedRow } from '../data/rows/check.js'
import type { ChoiceRow } from '../data/rows/choices.js'
import type { DataRecord } from '../data/rows/record.js'
import { Engine, type ScoredPrompt } from '../engine/index.js'
import { promptTokens, requireTokenizer } from '../generate/index.js'
import { pairTokens, plainPairTokens } from './continuations.js'
import { meanOf } from './measures.js'
import { chatOf, plainText, Shots, type TaskPrompt } from './prompts.js'
import { readAll } from './rows.js'
import { textsAtOnce } from './score.js'
import type { Measured, Measures, RowEntry, TaskContext } from './task.js'

/** The log-probabilities of a row's choices. */
interface ScoredChoices {
  row: ChoiceRow
  /** Sum over the tokens of each choice. */
  sums: readonly number[]
  /** Number of tokens of each choice. */
  tokens: readonly number[]
}

/** Such a task: what is asked, what may be answered, and how the verdicts on rows are joined. */
export interface ChoiceTask {
  readonly kind: 'choices'
  /** Whether the published prompt is plain text, which is used as such unless a template is named. */
  readonly plain?: true
  /** Returns a part that the task needs and a row lacks. */
  lacks?(row: ChoiceRow): 'subject' | 'input' | undefined
  /** Returns what stands before the shots. */
  header?(row: ChoiceRow): string
  /** Returns the text that asks; a space and an answer follow. */
  question(row: ChoiceRow): string
  /** Returns an answer for each choice. */
  answers(row: ChoiceRow): readonly string[]
  /**
   * Whether AdaptLLM's rules hold: the highest mean of a token is predicted and not the highest sum, and prompts are tokenised as they
   * are, without BOS.
   */
  byAdaptllm?(row: ChoiceRow): boolean
  /** Returns further verdicts on a row. */
  verdicts?(scored: ScoredChoices): Record<string, number>
  summarise(entries: readonly RowEntry[]): Measures
}

interface ReadRow {
  row: ChoiceRow
  where: string
  asked: TaskPrompt
}

/** Reads and checks all rows, then asks each. Of equal choices the first is predicted. */
export async function askChoices(task: ChoiceTask, context: TaskContext): Promise<Measured> {
  const { model, options, signal, done } = context
  requireTokenizer(model)
  const entries: RowEntry[] = []
  const rows = await readRows(task, context)
  const atOnce = textsAtOnce(options)
  await using engine = new Engine(model, { sequences: atOnce })
  // Rows that begin together share forward passes in the same way each time.
  for (let from = 0; from < rows.length; from += atOnce) {
    const group = rows.slice(from, from + atOnce)
    const encoded = await Promise.all(group.map((read) => tokensOf(task, read, context)))
    const prompts = encoded.map((one) => cutToFit(one, context.cut))
    const scores = engine.score(prompts.flat(), { signal })
    // Each is awaited in its turn.
    for (const score of scores) score.catch(() => {})
    for (const [i, { row, asked }] of group.entries()) {
      const own = scores.splice(0, prompts[i]!.length)
      const sums = (await Promise.all(own)).flat()
      signal?.throwIfAborted()
      const tokens = encoded[i]!.continuations.map((ids) => ids.length)
      const predicted = best(task.byAdaptllm?.(row) ? quotients(sums, tokens) : sums)
      const entry = {
        prompt: plainText(asked),
        ...(row.subject !== undefined && { subject: row.subject }),
        answer: row.answer,
        predicted,
        score: Number(predicted === row.answer),
        ...task.verdicts?.({ row, sums, tokens }),
        logLikelihoods: sums,
      }
      entries.push(entry)
      await done(entry, `accuracy ${meanOf(entries).toFixed(3)}`)
    }
  }
  return { entries, measures: task.summarise(entries) }
}

async function readRows(task: ChoiceTask, context: TaskContext): Promise<ReadRow[]> {
  const read = (record: DataRecord) => {
    const row = context.reading.choices(record)
    return { row, question: task.question(row), subject: row.subject }
  }
  const shots = await Shots.read(context, (record) => {
    const { row, ...asked } = read(record)
    return { ...asked, answer: task.answers(row)[row.answer]! }
  })
  return readAll(context, (record) => {
    const { row, question, subject } = read(record)
    const { where } = record
    const lack = task.lacks?.(row)
    if (lack !== undefined) {
      throw malformedRow(
        where,
        `this task needs the row's ${lack}; name its column (${theOption('columns', { [lack]: 'COLUMN' })})`,
      )
    }
    const header = task.header?.(row)
    return { row, where, asked: { header, question, shots: shots.before({ question, subject }, where) } }
  })
}

/** Returns the ids of a prompt, and those of each answer after it. */
async function tokensOf(
  task: ChoiceTask,
  { row, where, asked }: ReadRow,
  { model, template, templateContext, signal }: TaskContext,
): Promise<ScoredPrompt> {
  const tokenizer = requireTokenizer(model)
  const answers = task.answers(row)
  let prompt: number[]
  let continuations: number[][]
  if (template) {
    prompt = await promptTokens(model, template, { messages: chatOf(asked), ...templateContext }, signal)
    continuations = await Promise.all(answers.map((text) => tokenizer.encodeContinuation(text, signal)))
  } else {
    const text = plainText(asked)
    const pairOf = task.byAdaptllm?.(row) ? plainPairTokens : pairTokens
    const pairs = await Promise.all(answers.map((answer) => pairOf(tokenizer, text, ` ${answer}`, signal)))
    prompt = pairs[0]!.context
    continuations = pairs.map(({ continuation }) => continuation)
  }
  if (prompt.length === 0) throw malformedRow(where, 'the prompt has no token, or is white space alone')
  const empty = continuations.findIndex((ids) => ids.length === 0)
  if (empty >= 0) throw malformedRow(where, `choices[${empty}]: ${quoted(row.choices[empty])} has no token`)
  return { ids: prompt, continuations, name: `${where}: the prompt` }
}

/** Cuts the beginning of a prompt that leaves no room for a continuation; continuations with other beginnings are apart. */
function cutToFit({ ids, continuations, ...row }: ScoredPrompt, cut: TaskContext['cut']): ScoredPrompt[] {
  const cuts = continuations.map(({ length }) => cut(ids, length))
  if (cuts.every(({ length }) => length === cuts[0]!.length)) return [{ ...row, ids: cuts[0]!, continuations }]
  return cuts.map((beginning, i) => ({ ...row, ids: beginning, continuations: [continuations[i]!] }))
}

/** Returns the index of the highest value, the first of equal ones. */
export const best = (values: readonly number[]): number => values.indexOf(Math.max(...values))

export const quotients = (sums: readonly number[], lengths: readonly number[]): number[] =>
  sums.map((sum, i) => sum / lengths[i]!)
