/** Decides whether a run reads its rows before training or streams them. */

import { unlessAborted } from '../../common/cancellation.js'
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { FindOptions } from '../../rows/files/data-files.js'
import { isOfUnknownLength, namesOf, type OpenSource, openSources } from '../../rows/sources/open.js'
import type { DataSource } from '../../rows/sources/source.js'
import { DEFAULT_SHUFFLE_BUFFER, FIRST_STEPS } from './shuffle-buffer.js'

/**
 * Maximum size of files, and number of rows of an array, that are read whole if the number of steps is given: a few seconds'
 * work.
 */
const MOST_READ_WHOLE = { bytes: 2 ** 23, rows: 10_000 }

/** The options of a run that decide how its rows are read. */
interface ReadingOfRun {
  batchSize: number
  epochs: number
  maxSteps?: number
  /** Size of the buffer from which the next record of a stream is drawn; 0: all rows are read before training. */
  shuffleBuffer?: number
}

/** The sources of a run. */
interface OpenedForTraining {
  readonly sources: readonly OpenSource[]
  /** The run's option, or the default of a stream; 0 if many rows are read before training, absent if rows are few. */
  readonly shuffleBuffer?: number
}

/**
 * Opens the sources of a run. They become a stream, with a `shuffleBuffer` above 0, if the run asks for one by `shuffleBuffer` or
 * `stop`; and if it has `maxSteps` and either files or an array are large, or an iterable or standard input has more rows than a few
 * steps take.
 * @throws UsageError `missing-option` for a stream without `maxSteps`, `unfit-options` for epochs of what can be read only once and
 * for `stop` without a weight, and what `openSources` throws
 */
export async function openForTraining(
  data: readonly DataSource[],
  find: FindOptions,
  { batchSize, epochs, maxSteps, shuffleBuffer }: ReadingOfRun,
): Promise<OpenedForTraining> {
  const hasLongArray = data.some(isLongArray)
  const isStream = maxSteps !== undefined && shuffleBuffer !== 0 && (shuffleBuffer !== undefined || hasLongArray)
  const sources = await openSources(data, find, { isStream })
  if (sources.length > 1 && sources.some(({ stops, weight }) => stops && weight === undefined)) {
    throw new UsageError(
      'unfit-options',
      'A source of several that says stop needs a weight: without weights, all are one.',
    )
  }
  const isAskedFor = shuffleBuffer !== 0 && (shuffleBuffer !== undefined || sources.some(({ stops }) => stops))
  const bytes = sources.reduce((sum, source) => sum + (source.bytesRead === undefined ? 0 : source.bytes), 0)
  const isLarge = hasLongArray || bytes > MOST_READ_WHOLE.bytes
  const ofUnknownLength = sources.filter(isOfUnknownLength)
  if (maxSteps === undefined) {
    const once = sources.filter(({ isReadOnce }) => isReadOnce)
    if (epochs !== 1 && once.length > 0) {
      throw new UsageError(
        'unfit-options',
        `The rows of ${namesOf(once)} can be read only once, so there are no ${epochs} epochs of them: give ${optionName('maxSteps')}, or rows that can be read again.`,
      )
    }
    if (isAskedFor) {
      throw new UsageError(
        'missing-option',
        `The rows of ${namesOf(sources)} are read as steps need them, so their number is not known: give ${optionName('maxSteps')}.`,
      )
    }
    return isLarge || ofUnknownLength.length > 0 ? { sources, shuffleBuffer: 0 } : { sources }
  }
  if (shuffleBuffer === 0) return { sources, shuffleBuffer }
  const stream = { sources, shuffleBuffer: shuffleBuffer ?? DEFAULT_SHUFFLE_BUFFER }
  if (isAskedFor || isLarge) return stream
  for (const source of ofUnknownLength) {
    if (await unlessAborted(source.hasMoreThan(FIRST_STEPS * batchSize), find.signal)) return stream
  }
  return { sources }
}

const isLongArray = (source: DataSource): boolean =>
  typeof source !== 'string' &&
  'rows' in source &&
  Array.isArray(source.rows) &&
  source.rows.length > MOST_READ_WHOLE.rows
