/** Tasks that score texts which answer prompts. */
import { UsageError } from '../common/errors.js'
import { theOption } from '../common/option-names.js'
import { randomStream } from '../common/random.js'
import { mapAhead } from '../common/task-limit.js'
import { malformedRow } from '../data/rows/check.js'
import type { PromptRow, QuestionRow } from '../data/rows/rows.js'
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
import { meanOf } from './measures.js'
import { chatOf, plainText, Shots, type TaskPrompt } from './prompts.js'
import { readAll } from './rows.js'
import type { DataContext, Measured, Measures, RowEntry, TaskContext } from './task.js'

/** What a text is scored by. */
interface Given {
  text: string
  /** The reference answer; empty if the task has none. */
  answer: string
  /** The row's own answer, from which the reference was taken. */
  solution: string
  /** The row with all its columns. */
  row: unknown
  where: string
}

/** The score of a text, and further figures and findings by name. */
export interface Verdict {
  score: number
  [name: string]: unknown
}

/** Such a task: how a question is written, where an answer ends, how it is scored, and how the verdicts on rows are joined. */
export interface TextTask {
  readonly kind: 'text'
  /** Whether the published prompt is plain text, which is used as such unless a template is named. */
  readonly plain?: true
  /** Whether a plain prompt has no BOS, whatever the tokenizer's rule. */
  readonly withoutBos?: true
  /** Writes a question as plain text; a space and an answer follow. In a chat, the question itself is the user's turn. */
  question?(prompt: string): string
  /** Texts that end an answer to a plain prompt. */
  readonly until?: readonly string[]
  /** Most tokens of an answer, if the option does not say. */
  readonly maxNewTokens: number
  /**
   * Returns the answer that a row expects. If absent, rows need no answer.
   * @throws InputError `malformed-row` if the row has none
   */
  reference?(row: QuestionRow, where: string): string
  score(given: Given): Verdict | Promise<Verdict>
  summarise(entries: readonly RowEntry[]): Measures
}

interface ReadRow extends Omit<Given, 'text'>, Pick<PromptRow, 'tools' | 'templateOptions'> {
  asked: TaskPrompt | NonNullable<PromptRow['messages']> | Required<Pick<PromptRow, 'ids'>>
}

/** Returns the text that answers a row. */
export type TextOf = (row: ReadRow, index: number) => Promise<string>

/**
 * Reads and checks all rows, then scores a text for each.
 *
 * @param open returns what answers rows, given their number
 * @param atOnce number of texts that are asked for at once
 */
export async function scoreTexts(
  task: TextTask,
  context: DataContext,
  open: (rows: number) => Promise<TextOf>,
  atOnce = 1,
): Promise<Measured> {
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
    const { asked, answer } = row
    const verdict = await task.score({ ...row, text })
    const prompt = Array.isArray(asked) ? asked : 'ids' in asked ? asked.ids : plainText(asked, task.question)
    const entry = { prompt, text, ...(task.reference && { answer }), ...verdict }
    entries.push(entry)
    await context.done(entry, `score ${meanOf(entries).toFixed(3)}`)
  }
  return { entries, measures: task.summarise(entries) }
}

async function readRows(task: TextTask, context: DataContext): Promise<ReadRow[]> {
  const { reading, options } = context
  const shots = await Shots.read(context, (record) => {
    const { prompt, answer } = reading.question(record)
    if (prompt !== undefined) return { question: prompt, answer }
    throw malformedRow(record.where, 'a solved example needs a prompt, and the row is a conversation')
  })
  return readAll(context, (record) => {
    const { where, value } = record
    const question = task.reference && reading.question(record)
    const { prompt, messages, ids, tools, templateOptions } = question ?? reading.prompt(record)
    if ((messages || ids) && options.shots > 0) {
      throw malformedRow(where, 'solved examples can stand before a prompt only, and the row is a conversation or ids')
    }
    return {
      where,
      row: value,
      solution: question?.answer ?? '',
      answer: question ? task.reference!(question, where) : '',
      asked: messages ?? (ids && { ids }) ?? { question: prompt!, shots: shots.before({ question: prompt! }, where) },
      tools,
      templateOptions,
    }
  })
}

/** Generates texts, greedily unless options say otherwise. The beginning of a plain prompt is cut if it leaves no room for the answer. */
export async function generatedTexts(task: TextTask, context: TaskContext, engine: Engine): Promise<TextOf> {
  const { model, options, template, templateContext, signal, cut } = context
  const tokenizer = requireTokenizer(model)
  const stopIds = await stopTokens(model, template)
  const { maxNewTokens = task.maxNewTokens, system, seed } = options
  const limits = await limitsOf({ ...options, maxNewTokens, logprobs: false, topLogprobs: 0 }, tokenizer)
  const ofTokens = { tokenizer, ...model.config, eosIds: [...stopIds] }
  const encode = (text: string) =>
    task.withoutBos ? tokenizer.encode(text, signal) : tokenizer.encodeText(text, signal)
  return async ({ where, asked, tools, templateOptions }) => {
    const isWritten = !Array.isArray(asked) && !('ids' in asked)
    const isPlain = template === null && isWritten
    if (isPlain && system !== undefined) throw withoutTemplate()
    if ('ids' in asked && system !== undefined)
      throw malformedRow(where, `a system message (${theOption('system')}) cannot stand before ids`)
    const given = isWritten
      ? { messages: chatOf(asked) }
      : Array.isArray(asked)
        ? { messages: asked }
        : { prompt: asked.ids }
    const ids = isPlain
      ? cut(await encode(plainText(asked, task.question)), maxNewTokens)
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
      const stopStrings = [...limits.stopStrings!, ...((isPlain && task.until) || [])]
      const { text } = await drain(textOfTokens(engine.write(request), { tokenizer, ...request, stopStrings }))
      return text
    } finally {
      constraint?.dispose()
    }
  }
}

const withoutTemplate = () =>
  new UsageError(
    'no-chat-template',
    `A system message (${theOption('system')}) needs a chat template, and none is in use; name a template file, or leave it out.`,
  )
