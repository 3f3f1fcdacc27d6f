/** Generates and scores the texts of tasks that judge them. */
import { InputError } from '../common/errors.js'
import { theOption } from '../common/option-names.js'
import { randomStream } from '../common/random.js'
import { mapAhead } from '../common/task-limit.js'
import type { Engine } from '../engine/index.js'
import {
  constraintOf,
  drain,
  limitsOf,
  promptTokens,
  requireTokenizer,
  stopTokens,
  textOfTokens,
} from '../generate/index.js'
import { isJsonObject } from '../io/json.js'
import { malformedRow } from '../rows/check.js'
import { findDataFiles } from '../rows/files/data-files.js'
import { readRecords } from '../rows/files/readers.js'
import { meanScore } from '../tasks/measures.js'
import type { AnsweredRow, AnswerTask, RowEntry } from '../tasks/task.js'
import { needsTemplate } from '../text/template.js'
import type { OpenData, TaskContext } from './context.js'
import { chatOf, plainText, Shots, type TaskPrompt } from './prompts.js'
import { readAll } from './rows.js'

interface ReadRow extends Pick<AnsweredRow, 'answer' | 'solution' | 'tools' | 'templateOptions'> {
  prompt: TaskPrompt | NonNullable<AnsweredRow['messages']> | Required<Pick<AnsweredRow, 'ids'>>
  /** The row with all its columns. */
  row: unknown
  where: string
}

/** Returns the text that answers a row. */
type TextOf = (row: ReadRow, index: number) => Promise<string>

/**
 * Reads and checks all rows, then scores a text for each.
 *
 * @param open returns the function that answers rows, given their number
 * @param atOnce number of concurrent texts
 */
export async function scoreTexts(
  task: AnswerTask,
  context: OpenData & Pick<TaskContext, 'found' | 'done'>,
  open: (rows: number) => Promise<TextOf>,
  atOnce = 1,
): Promise<RowEntry[]> {
  const rows = await readRows(task, context)
  const textOf = await open(rows.length)
  const entries: RowEntry[] = []
  const texts = mapAhead(
    rows.entries(),
    () => atOnce - 1,
    async ([i, row]) => ({ row, text: await textOf(row, i) }),
  )
  for await (const { row, text } of texts) {
    context.signal?.throwIfAborted()
    const { prompt, answer, solution = '', where } = row
    const verdict = await task.answer.judge({ text, answer: answer ?? '', solution, row: row.row, where })
    const shown = Array.isArray(prompt)
      ? prompt
      : 'ids' in prompt
        ? prompt.ids
        : plainText(prompt, task.prompt.question)
    const entry = { prompt: shown, text, ...(answer !== undefined && { answer }), ...verdict }
    entries.push(entry)
    await context.done(entry, `score ${meanScore(entries).toFixed(3)}`)
  }
  return entries
}

async function readRows(task: AnswerTask, context: OpenData & Pick<TaskContext, 'found'>): Promise<ReadRow[]> {
  const { reading, options } = context
  const shots = await Shots.read(context, (record) => {
    const { prompt, answer } = reading.question(record)
    if (prompt !== undefined) return { question: prompt, answer }
    throw malformedRow(record.where, 'a solved example needs a prompt, and the row is a conversation')
  })
  return readAll(context, (record) => {
    const { where, value } = record
    const { prompt, messages, ids, ...read } = task.rows(record, reading)
    if ((messages || ids) && options.shots > 0) {
      throw malformedRow(where, 'solved examples can stand before a prompt only, and the row is a conversation or ids')
    }
    return {
      ...read,
      where,
      row: value,
      prompt: messages ?? (ids && { ids }) ?? { question: prompt!, shots: shots.before({ question: prompt! }, where) },
    }
  })
}

/** Generates texts, greedily unless options say otherwise. The beginning of a plain prompt is cut if it leaves no room for the answer. */
export async function generatedTexts(task: AnswerTask, context: TaskContext, engine: Engine): Promise<TextOf> {
  const { model, options, template, templateContext, signal, cut } = context
  const tokenizer = requireTokenizer(model)
  const stopIds = await stopTokens(model, template)
  const { maxNewTokens = task.answer.maxNewTokens, system, seed } = options
  const limits = await limitsOf({ ...options, maxNewTokens, logprobs: false, topLogprobs: 0 }, tokenizer)
  const ofTokens = { tokenizer, ...model.config, eosIds: [...stopIds] }
  const encode = (text: string) =>
    task.prompt.withoutBos ? tokenizer.encode(text, signal) : tokenizer.encodeText(text, signal)
  return async ({ where, prompt, tools, templateOptions }) => {
    const isWritten = !Array.isArray(prompt) && !('ids' in prompt)
    const isPlain = template === null && isWritten
    if (isPlain && system !== undefined)
      throw needsTemplate(`A system message (${theOption('system')}) needs`, 'leave it out')
    if ('ids' in prompt && system !== undefined)
      throw malformedRow(where, `a system message (${theOption('system')}) cannot stand before ids`)
    const given = isWritten
      ? { messages: chatOf(prompt) }
      : Array.isArray(prompt)
        ? { messages: prompt }
        : { prompt: prompt.ids }
    const ids = isPlain
      ? cut(await encode(plainText(prompt, task.prompt.question)), maxNewTokens)
      : await promptTokens(
          model,
          template,
          {
            ...templateContext,
            ...(tools && { tools }),
            ...(templateOptions && { templateOptions }),
            ...given,
            system,
          },
          signal,
        )
    const constraint = await constraintOf(options, ofTokens, signal)
    try {
      // As `generate` draws for a prompt.
      const random = randomStream(seed, 'generate')
      const request = { ids, ...limits, random, stopIds, constraint, name: `${where}: the prompt`, signal }
      const stopStrings = [...limits.stopStrings!, ...((isPlain && task.answer.until) || [])]
      const { text } = await drain(textOfTokens(engine.write(request), { tokenizer, ...request, stopStrings }))
      return text
    } finally {
      constraint?.dispose()
    }
  }
}

/**
 * Reads a file of rows with the column `text`, one for each row of the data.
 * @throws InputError `malformed-row`, and `unfit-predictions` for another number of rows
 */
export async function readPredictions(path: string, rows: number): Promise<string[]> {
  const texts: string[] = []
  for await (const { value, where } of readRecords(await findDataFiles(path))) {
    const text = isJsonObject(value) ? value.text : undefined
    if (typeof text !== 'string') throw malformedRow(where, 'expected a row with the column text, which holds a text')
    texts.push(text)
  }
  if (texts.length === rows) return texts
  throw new InputError(
    'unfit-predictions',
    `${path}: expected ${rows} texts, one for each row of the data, but received ${texts.length}.`,
  )
}
