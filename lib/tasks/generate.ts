/** The task `generate`: texts scored by a custom function. */
import { InputError, quoted, RunError } from '../common/errors.js'
import { reasonOfCaller } from '../common/foreign-errors.js'
import { plainCopy } from '../common/plain-copy.js'
import { importModule } from '../common/user-module.js'
import type { AnyRow } from '../rows/sources/source.js'
import { accuracy } from './measures.js'
import type { AnswerTask } from './task.js'

/**
 * Scores a text that answers a row.
 * @param given the row with all its columns, and the text
 * @returns any finite number; the result of the task is the mean
 */
export type Scorer<Row = AnyRow> = (given: { row: Row; text: string }) => number | Promise<number>

/** Returns the task that scores texts by a function. */
export const generated = (scorer: Scorer) =>
  ({
    rows: (record, reading) => reading.prompt(record),
    prompt: {},
    answer: {
      maxNewTokens: 256,
      async judge({ row, text, where }) {
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
    },
    measures: accuracy,
  }) satisfies AnswerTask

/**
 * Returns the default export of a JavaScript or TypeScript module.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-module` if the module cannot be run, or its default export is no function
 */
export async function loadScorer(path: string): Promise<Scorer> {
  const scorer = (await importModule(path, 'scorer')).default
  if (typeof scorer === 'function') return scorer as Scorer
  throw new InputError(
    'malformed-module',
    `Expected a function as the default export of the scorer ${path} but received ${quoted(scorer)}.`,
  )
}
