/** The task `generate`: texts scored by a custom function. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { quoted, RunError, UsageError } from '../common/errors.js'
import { reasonOfCaller } from '../common/foreign-errors.js'
import { plainCopy } from '../common/plain-copy.js'
import type { AnyRow } from '../data/sources/source.js'
import { accuracy } from './measures.js'
import type { TextTask } from './text-task.js'

/**
 * Scores a text that answers a row.
 * @param given the row with all its columns, and the text
 * @returns any finite number; the result of the task is the mean
 */
export type Scorer<Row = AnyRow> = (given: { row: Row; text: string }) => number | Promise<number>

/** Returns the task that scores texts by a function. */
export const generateTask = (scorer: Scorer): TextTask => ({
  kind: 'text',
  maxNewTokens: 256,
  async score({ row, text, where }) {
    let score: unknown
    try {
      score = await scorer({ row: plainCopy(row) as AnyRow, text })
    } catch (cause) {
      throw new RunError('scorer-failed', `${where}: the scorer failed: ${reasonOfCaller(cause)}`, { cause })
    }
    if (typeof score === 'number' && Number.isFinite(score)) return { score }
    throw new RunError(
      'scorer-failed',
      `${where}: expected a finite number from the scorer but received ${quoted(score)}.`,
    )
  },
  summarise: accuracy,
})

/**
 * Loads the default export of a JavaScript or TypeScript file; the latter by Node.js itself, from version 22.18 on.
 * @throws UsageError `bad-scorer`
 */
export async function loadScorer(path: string): Promise<Scorer> {
  let module: { default?: unknown }
  try {
    module = await import(pathToFileURL(resolve(path)).href)
  } catch (cause) {
    const { code } = cause as { code?: string }
    throw new UsageError(
      'bad-scorer',
      code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts$/.test(path)
        ? `The scorer ${path} is TypeScript, which Node.js ${process.version} does not read; use Node.js 22.18 or newer, or write JavaScript.`
        : `The scorer ${path} cannot be loaded: ${messageOf(cause)}`,
      { cause },
    )
  }
  if (typeof module.default === 'function') return module.default as Scorer
  throw new UsageError(
    'bad-scorer',
    `Expected a function as the default export of the scorer ${path} but received ${quoted(module.default)}.`,
  )
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : quoted(error))
