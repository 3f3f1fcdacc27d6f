/** Scores the rows of tasks that compare the log-probabilities of choices. */
import { quoted } from '../common/errors.js'
import { Engine, type ScoredPrompt } from '../engine/index.js'
import { promptTokens, requireTokenizer } from '../generate/index.js'
import { malformedRow } from '../rows/check.js'
import type { ChoiceRow } from '../rows/choices.js'
import type { DataRecord } from '../rows/record.js'
import { best, meanScore, quotients } from '../tasks/measures.js'
import type { ChoiceTask, RowEntry } from '../tasks/task.js'
import type { TaskContext } from './context.js'
import { pairTokens, plainPairTokens } from './continuations.js'
import { chatOf, plainText, Shots, type TaskPrompt } from './prompts.js'
import { readAll } from './rows.js'
import { textsAtOnce } from './score.js'

interface ReadRow {
  row: ChoiceRow
  where: string
  prompt: TaskPrompt
}

/** Reads and checks all rows, then scores the choices of each. Of equal choices the first is predicted. */
export async function askChoices(task: ChoiceTask, context: TaskContext): Promise<RowEntry[]> {
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
    // Each is awaited below.
    for (const score of scores) score.catch(() => {})
    for (const [i, { row, prompt }] of group.entries()) {
      const own = scores.splice(0, prompts[i]!.length)
      const sums = (await Promise.all(own)).flat()
      signal?.throwIfAborted()
      const tokens = encoded[i]!.continuations.map((ids) => ids.length)
      const predicted = best(task.byAdaptllm?.(row) ? quotients(sums, tokens) : sums)
      const entry = {
        prompt: plainText(prompt),
        ...(row.subject !== undefined && { subject: row.subject }),
        answer: row.answer,
        predicted,
        score: Number(predicted === row.answer),
        ...task.verdicts?.(row, sums, tokens),
        logLikelihoods: sums,
      }
      entries.push(entry)
      await done(entry, `accuracy ${meanScore(entries).toFixed(3)}`)
    }
  }
  return entries
}

async function readRows(task: ChoiceTask, context: TaskContext): Promise<ReadRow[]> {
  const { prompt } = task
  const read = (record: DataRecord) => {
    const row = task.rows(record, context.reading)
    return { row, question: prompt.question(row), subject: row.subject }
  }
  const shots = await Shots.read(context, (record) => {
    const { row, ...question } = read(record)
    return { ...question, answer: task.choices(row)[row.answer]! }
  })
  return readAll(context, (record) => {
    const { row, question, subject } = read(record)
    const { where } = record
    const header = prompt.header?.(row)
    return { row, where, prompt: { header, question, shots: shots.before({ question, subject }, where) } }
  })
}

/** Returns the ids of a prompt, and of each choice after it. */
async function tokensOf(
  task: ChoiceTask,
  { row, where, prompt }: ReadRow,
  { model, template, templateContext, signal }: TaskContext,
): Promise<ScoredPrompt> {
  const tokenizer = requireTokenizer(model)
  const answers = task.choices(row)
  let ids: number[]
  let continuations: number[][]
  if (template) {
    ids = await promptTokens(model, template, { messages: chatOf(prompt), ...templateContext }, signal)
    continuations = await Promise.all(answers.map((text) => tokenizer.encodeContinuation(text, signal)))
  } else {
    const text = plainText(prompt)
    const pairOf = task.byAdaptllm?.(row) ? plainPairTokens : pairTokens
    const pairs = await Promise.all(answers.map((answer) => pairOf(tokenizer, text, ` ${answer}`, signal)))
    ids = pairs[0]!.context
    continuations = pairs.map(({ continuation }) => continuation)
  }
  if (ids.length === 0) throw malformedRow(where, 'the prompt has no token, or is white space alone')
  const empty = continuations.findIndex(({ length }) => length === 0)
  if (empty >= 0) throw malformedRow(where, `choices[${empty}]: ${quoted(row.choices[empty])} has no token`)
  return { ids, continuations, name: `${where}: the prompt` }
}

/** Cuts the beginning of a prompt that leaves no room for a continuation; continuations with other beginnings are apart. */
function cutToFit({ ids, continuations, ...row }: ScoredPrompt, cut: TaskContext['cut']): ScoredPrompt[] {
  const cuts = continuations.map(({ length }) => cut(ids, length))
  if (cuts.every(({ length }) => length === cuts[0]!.length)) return [{ ...row, ids: cuts[0]!, continuations }]
  return cuts.map((beginning, i) => ({ ...row, ids: beginning, continuations: [continuations[i]!] }))
}
